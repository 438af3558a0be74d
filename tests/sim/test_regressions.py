"""The smallest plans that once broke the engine, each with what was wrong."""

from __future__ import annotations

from tests.sim.checks import play
from tests.sim.groups import FAULT_S, group, masters, took_over
from tests.sim.plan import (
    Command,
    LinkDown,
    NodePlan,
    OneWay,
    Pause,
    Plan,
    SendFault,
    Split,
    Suspend,
    VipPlan,
)
from tests.sim.world import World

PAIR = (NodePlan(advskew=0), NodePlan(advskew=100))
LAN_WAN = (VipPlan("lan", 1), VipPlan("wan", 1))


def test_a_link_that_goes_down_while_sending_fails_does_not_demote_for_ever() -> None:
    """Nothing probed the link any more, so `send errors wan` outlived link and fault."""
    play(
        Plan(
            seed=1,
            nodes=PAIR,
            vips=LAN_WAN,
            faults=(
                SendFault(at_s=10.0, for_s=5.0, interface="wan", node=0),
                LinkDown(at_s=14.0, for_s=2.0, interface="wan", node=0),
            ),
        )
    )


def test_a_deaf_node_does_not_make_a_healthy_backup_flap() -> None:
    """It preempted the deaf node once a second, though it followed a better, living master."""
    deaf = tuple(OneWay(FAULT_S, None, "lan", sender, 2) for sender in (0, 1))
    world = World(group(0, 50, 100, faults=deaf))
    world.run_until(60.0)
    assert "fw2" not in took_over(world)


def test_a_switchover_among_four_settles_at_once() -> None:
    """Goodbyes still on their way made a node take over that followed the successor already."""
    plan = group(0, 50, 100, 150, faults=(Command(FAULT_S, 0, "switchover"),))
    world = World(plan)
    world.run_until(FAULT_S + 0.05)
    assert [masters(world, "1@lan"), masters(world, "1@wan")] == [["fw2"], ["fw2"]]


def test_who_wins_after_a_split_brain_always_announces() -> None:
    """If the winner's advert was heard first, it never learned of the other master."""
    for tenth in range(10):
        healed_s = 21.0 + tenth / 10
        split = Split(FAULT_S, healed_s - FAULT_S, "lan", (0,))
        world = play(group(0, 100, faults=(split,)))
        assert any(
            box.index == 0 and time_s >= healed_s for time_s, box, _ in world.announcements
        ), f"healed at {healed_s}"


def test_without_preemption_a_healed_link_does_not_leave_the_group_split() -> None:
    """Nothing brought the VHIDs of a healed link back to the others: half a gateway each."""
    world = play(group(100, 0, preempt=False, faults=(Split(FAULT_S, 6.0, "lan", (0,)),)))
    assert masters(world, "1@lan") == masters(world, "1@wan")


def test_a_mute_master_lets_go_where_it_hears_another() -> None:
    """It kept its VHIDs there, if the other had lost another link and so was the worse one."""
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


def test_a_node_that_slept_does_not_act_on_stale_goodbyes() -> None:
    """It took over from a living master on a goodbye that was seconds old."""
    faults = (Pause(FAULT_S - 0.5, 6.0, 2), Command(FAULT_S, 0, "switchover"))
    world = play(group(0, 50, 100, faults=faults))
    assert "fw3" not in took_over(world)


def test_a_suspended_backup_does_not_take_over_from_a_living_master() -> None:
    """Its sockets are empty when it wakes: that is no silence."""
    world = play(group(0, 100, faults=(Suspend(FAULT_S, 20.0, 1),)))
    assert took_over(world) == []


def test_a_suspended_master_wakes_as_backup_and_comes_back_in_good_order() -> None:
    world = play(group(0, 100, faults=(Suspend(FAULT_S, 10.0, 0),)))
    assert masters(world, "1@lan") == masters(world, "1@wan") == ["fw1"]
    backs = [line for line in world.trace if "fw1" in line and "-> MASTER" in line]
    assert float(backs[-1].split()[0]) > FAULT_S + 10.0 + 30.0


def test_a_paused_master_says_nothing_as_master_when_it_wakes() -> None:
    world = play(group(0, 100, faults=(Pause(FAULT_S, 10.0, 0),)))
    woken_s = FAULT_S + 10.0
    said = [at_s for at_s, box, _ in world.announcements if box.index == 0 and at_s >= woken_s]
    assert said and min(said) > woken_s + 25.0
