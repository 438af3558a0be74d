"""The simulator itself: it repeats exactly, does what its faults say, and its judges judge."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carpool.machine.effects import State
from carpool.machine.vhost import ADDRESS_LIFETIME_S
from carpool.model.config import VhostKey
from carpool.model.damping import Damping
from tests.sim.box import INBOX_PACKETS_MAX
from tests.sim.checks import (
    Bounds,
    NeverTwoOwnersForLong,
    NeverWithoutOwner,
    check_quiet,
    check_ticks,
    components,
    mutual,
)
from tests.sim.plan import (
    Command,
    Crash,
    Fault,
    Kill,
    LinkDown,
    NodePlan,
    Noise,
    OneWay,
    Pause,
    Plan,
    Split,
    VipPlan,
)
from tests.sim.world import Watcher, World

LAN, WAN = VhostKey("lan", 1), VhostKey("wan", 1)
VIPS = (VipPlan("lan", 1), VipPlan("wan", 1, "46"))


def plan(*faults: Fault, seed: int = 7, nodes: int = 2) -> Plan:
    return Plan(seed, tuple(NodePlan(50 * n, 100 * n) for n in range(nodes)), VIPS, faults)


BAD_DAY = plan(
    Noise(5.0, 10.0, loss=0.3, duplicate=0.3, delay_s=0.3),
    LinkDown(8.0, 3.0, "lan", 0),
    Pause(12.0, 5.0, 1),
    Kill(20.0, 0.1, 0),
    Crash(30.0, 5.0, 0, -2.0),
    Command(40.0, 1, "switchover"),
    nodes=3,
)


def run(a_plan: Plan, until_s: float, *watchers: Watcher) -> World:
    world = World(a_plan, watchers)
    world.run_until(until_s)
    return world


def state(world: World, index: int, key: VhostKey = LAN) -> State | None:
    engine = world.boxes[index].engine
    return engine.vhosts[key].state if engine is not None else None


# ------------------------------------------------------------------------------- repetition


def test_the_same_plan_gives_the_same_trace() -> None:
    first, second = run(BAD_DAY, 60.0), run(BAD_DAY, 60.0)
    assert len(first.trace) > 50
    assert (first.trace, first.packets) == (second.trace, second.packets)


def test_another_seed_gives_another_trace() -> None:
    other = Plan(8, BAD_DAY.nodes, BAD_DAY.vips, BAD_DAY.faults)
    assert run(other, 60.0).trace != run(BAD_DAY, 60.0).trace


def test_a_plan_is_printed_as_python_that_builds_it() -> None:
    damped = replace(BAD_DAY, damping=Damping(moves_per_hour=2))
    assert eval(repr(damped)) == damped


# ----------------------------------------------------------------------------------- faults


def test_the_best_node_becomes_master_and_owns() -> None:
    world = run(plan(nodes=3), 10.0)
    assert [state(world, n) for n in range(3)] == [State.MASTER, State.BACKUP, State.BACKUP]
    assert [box.owns(LAN) for box in world.boxes] == [True, False, False]


def test_a_split_makes_two_masters_on_one_link_only() -> None:
    world = run(plan(Split(10.0, None, "lan", (0,))), 20.0)
    assert [state(world, 0), state(world, 1)] == [State.MASTER, State.MASTER]
    assert [state(world, 0, WAN), state(world, 1, WAN)] == [State.MASTER, State.BACKUP]
    assert [[box.name for box in group] for group in components(world, "lan")] == [["fw2"], ["fw1"]]


def test_a_one_way_path_joins_but_is_not_mutual() -> None:
    world = run(plan(OneWay(10.0, None, "lan", 0, 1)), 20.0)
    (group,) = components(world, "lan")
    assert not mutual(world, "lan", group)
    assert [state(world, 0), state(world, 1)] == [State.MASTER, State.MASTER]


def test_a_killed_process_leaves_its_addresses_for_their_lifetime() -> None:
    world = run(plan(Kill(10.0, None, 0)), 10.5)
    assert (state(world, 0), world.boxes[0].owns(LAN)) == (None, True)
    world.run_until(10.0 + ADDRESS_LIFETIME_S + 0.01)
    assert not world.boxes[0].owns(LAN)


def test_a_killed_process_that_is_started_again_hands_over() -> None:
    world = run(plan(Kill(10.0, 0.1, 0)), 11.0)
    assert [state(world, 0), state(world, 1)] == [State.BACKUP, State.MASTER]


def test_a_crashed_machine_is_gone_with_its_addresses_and_comes_back() -> None:
    world = run(plan(Crash(10.0, 10.0, 0)), 10.001)
    assert (state(world, 0), world.boxes[0].owns(LAN)) == (None, False)
    world.run_until(15.0)
    assert state(world, 1) is State.MASTER
    world.run_until(25.0)
    assert [state(world, 0), state(world, 1)] == [State.MASTER, State.BACKUP]


def test_a_paused_node_keeps_a_bounded_number_of_packets() -> None:
    world = run(plan(Pause(10.0, 200.0, 1)), 209.0)
    assert len(world.boxes[1]._inbox) == INBOX_PACKETS_MAX
    world.run_until(211.0)
    assert (len(world.boxes[1]._inbox), state(world, 1)) == (0, State.BACKUP)


def test_noise_loses_repeats_and_delays() -> None:
    quiet = run(plan(), 100.0).packets
    assert run(plan(Noise(0.0, 100.0, loss=1.0)), 100.0).packets == 0
    assert run(plan(Noise(0.0, 100.0, duplicate=1.0)), 100.0).packets > 1.8 * quiet


# ----------------------------------------------------------------------------------- judges


def test_a_node_that_does_not_let_go_is_caught() -> None:
    a_plan = plan()
    world = World(a_plan, (NeverTwoOwnersForLong(Bounds.of(a_plan)),))
    world.run_until(10.0)
    world.boxes[1].expires[LAN] = 1e9
    world.changed()
    with pytest.raises(AssertionError, match=r"fw1 and fw2 both owned 1@lan for \d"):
        world.run_until(20.0)
    with pytest.raises(AssertionError, match="owners are fw1, fw2"):
        check_quiet(world)


def test_a_group_that_leaves_the_addresses_alone_is_caught() -> None:
    a_plan = plan()
    world = World(a_plan, (NeverWithoutOwner(Bounds.of(a_plan)),))
    world.run_until(10.0)
    world.boxes[0].expires[LAN] = 0.0
    world.changed()
    world.boxes[0].engine = None
    engine = world.boxes[1].engine
    assert engine is not None
    engine.vhosts[LAN]._heard_s = 1e9
    with pytest.raises(AssertionError, match="1@lan had no owner for"):
        world.run_until(30.0)


def test_a_second_best_master_is_caught() -> None:
    world = run(plan(), 10.0)
    world.boxes[1].maintenance = True
    with pytest.raises(AssertionError, match="fw2 is demoted for set"):
        check_quiet(world)
    world = run(plan(), 2.9)
    with pytest.raises(AssertionError, match="nobody owns"):
        check_quiet(world)


def test_a_busy_loop_is_caught() -> None:
    world = run(plan(), 5.0)
    check_ticks(world)
    world.boxes[0].ticks += [4.0 + n / 1000 for n in range(500)]
    with pytest.raises(AssertionError, match="ticks within a second"):
        check_ticks(world)
