"""What the engine does not do yet, though it could: each a schedule, what was seen, and a way out.

Every test is expected to fail, strictly: who mends the engine is told, and moves it to
test_regressions.py.
"""

from __future__ import annotations

import pytest

from carpool.machine.effects import State
from tests.sim.checks import play
from tests.sim.plan import (
    Command,
    Crash,
    Fault,
    NodePlan,
    OneWay,
    Pause,
    Plan,
    SendFault,
    Split,
    VipPlan,
)
from tests.sim.world import World

LAN_WAN = (VipPlan("lan", 1), VipPlan("wan", 1))
FAULT_S = 15.0


def group(*advskews: int, faults: tuple[Fault, ...], seed: int = 1, preempt: bool = True) -> Plan:
    """Nodes that boot one after the other, so that the first one is master when `faults` begin."""
    boots = tuple(Crash(0.0, 2.0 + 3 * index, index) for index in range(1, len(advskews)))
    nodes = tuple(NodePlan(advskew) for advskew in advskews)
    return Plan(seed, nodes, LAN_WAN, boots + faults, preempt)


def masters(world: World, key: str) -> list[str]:
    return [
        box.name
        for box in world.boxes
        if box.engine is not None
        and any(
            str(k) == key and vhost.state is State.MASTER for k, vhost in box.engine.vhosts.items()
        )
    ]


def took_over(world: World, since_s: float = FAULT_S) -> list[str]:
    """Who became MASTER of anything since, in order, once for each time."""
    return [
        line.split()[1]
        for line in world.trace
        if "-> MASTER" in line and float(line.split()[0]) >= since_s
    ]


@pytest.mark.xfail(
    strict=True,
    reason="every backup answers a goodbye at once; all but the best announce, and are corrected. "
    "Way out: wait advskew/256 * 0.1 s before taking over from a master that is alive (as VRRP's "
    "skew time); it goes on owning until it hears a successor, so nothing is lost",
)
def test_only_the_best_backup_takes_over_when_a_master_leaves() -> None:
    world = play(group(0, 50, 100, faults=(Command(FAULT_S, 0, "stop"),)))
    assert set(took_over(world)) == {"fw2"}


@pytest.mark.xfail(
    strict=True,
    reason="a backup preempts any slower master it hears, though it follows a better one that is "
    "alive: where one node is deaf, the second best takes all VHIDs and loses them again, once a "
    "second, for ever. Way out: take over only from the master that is followed, or from silence",
)
def test_a_deaf_node_does_not_make_a_healthy_backup_flap() -> None:
    deaf = tuple(OneWay(FAULT_S, None, "lan", sender, 2) for sender in (0, 1))
    world = World(group(0, 50, 100, faults=deaf))
    world.run_until(60.0)
    assert "fw2" not in took_over(world)


@pytest.mark.xfail(
    strict=True,
    reason="goodbyes that are still on their way make a node take over again that follows the "
    "successor already; two masters for a second. Way out: the same",
)
def test_a_switchover_among_four_settles_at_once() -> None:
    plan = group(0, 50, 100, 150, faults=(Command(FAULT_S, 0, "switchover"),))
    world = World(plan)
    world.run_until(FAULT_S + 0.05)
    assert [masters(world, "1@lan"), masters(world, "1@wan")] == [["fw2"], ["fw2"]]


@pytest.mark.xfail(
    strict=True,
    reason="who yields does so in silence: if the winner's advert is heard first, the winner never "
    "learns that there was another master, and announces nothing; with mac = interface neighbours "
    "go on sending to the loser. Way out: the loser's last words are one advert as it was",
)
def test_who_wins_after_a_split_brain_always_announces() -> None:
    for tenth in range(10):
        healed_s = 21.0 + tenth / 10
        split = Split(FAULT_S, healed_s - FAULT_S, "lan", (0,))
        world = play(group(0, 100, faults=(split,)))
        assert any(
            box.index == 0 and time_s >= healed_s for time_s, box, _ in world.announcements
        ), f"healed at {healed_s}"


@pytest.mark.xfail(
    strict=True,
    reason="ties are broken by the addresses of each link, whose order differs from link to link: "
    "two nodes with the same advskew that were both master of all share the group for ever, one "
    "VHID each. Way out: break ties by the nodes' names where the peer is configured, and say "
    "that the advskews are equal",
)
def test_equal_nodes_do_not_share_the_group() -> None:
    apart = tuple(Split(FAULT_S, 6.0, interface, (0,)) for interface in ("lan", "wan"))
    worlds = [play(group(0, 0, faults=apart, seed=seed)) for seed in range(8)]
    assert all(masters(world, "1@lan") == masters(world, "1@wan") for world in worlds)


@pytest.mark.xfail(
    strict=True,
    reason="without preemption nothing brings the VHIDs of a healed link back to the others: half "
    "a gateway each, for ever. Way out: who yields one VHID as master leaves all others, too",
)
def test_without_preemption_a_healed_link_does_not_leave_the_group_split() -> None:
    world = play(group(100, 0, preempt=False, faults=(Split(FAULT_S, 6.0, "lan", (0,)),)))
    assert masters(world, "1@lan") == masters(world, "1@wan")


@pytest.mark.xfail(
    strict=True,
    reason="a master whose sending fails on a link keeps its VHIDs there although it hears another "
    "master, if that one has lost another link (rank 32 against 16). Way out: who cannot be heard "
    "on a link and hears a master there lets go there",
)
def test_a_mute_master_lets_go_where_it_hears_another() -> None:
    vips = (*LAN_WAN, VipPlan("dmz", 1))
    plan = Plan(
        1,
        (NodePlan(0), NodePlan(100)),
        vips,
        (Split(FAULT_S, None, "dmz", (0,)), SendFault(FAULT_S, None, "lan", 0)),
    )
    world = World(plan)
    world.at(FAULT_S, lambda: lose_link(world, 1, "dmz"))
    world.run_until(40.0)
    assert len(masters(world, "1@lan")) == 1


def lose_link(world: World, node: int, interface: str) -> None:
    world.boxes[node].links_down[interface] += 1
    world.boxes[node].link_changed(interface)


@pytest.mark.xfail(
    strict=True,
    reason="a node that slept acts on a goodbye that is seconds old and takes over from a living "
    "master. Way out: after a deadline missed by more than a second let packets keep a master "
    "alive, but make nobody master, for the 0.1 s that a full socket needs",
)
def test_a_node_that_slept_does_not_act_on_stale_goodbyes() -> None:
    faults = (Pause(FAULT_S - 0.5, 6.0, 2), Command(FAULT_S, 0, "switchover"))
    world = play(group(0, 50, 100, faults=faults))
    assert "fw3" not in took_over(world)
