"""What the engine does not do yet, though it could: each a schedule, what was seen, and a way out.

Every test is expected to fail, strictly: who mends the engine is told, and moves it to
test_regressions.py.
"""

from __future__ import annotations

import pytest

from tests.sim.checks import play
from tests.sim.groups import FAULT_S, LAN_WAN, group, masters, took_over
from tests.sim.plan import Command, NodePlan, Pause, Plan, SendFault, Split, VipPlan
from tests.sim.world import World


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
