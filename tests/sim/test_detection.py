"""Groups that watch each other by BFD: dead masters are missed at once, and living ones never."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from tests.sim.checks import play
from tests.sim.groups import FAULT_S, group, masters, took_over
from tests.sim.plan import Command, Crash, Fault, Kill, OneWay, Pause, Plan, Split, Suspend
from tests.sim.profile import TIMEOUT_S, search
from tests.sim.strategies import plans
from tests.sim.world import World

pytestmark = pytest.mark.timeout(TIMEOUT_S)

SEEDS = range(4)


def after(
    *faults: Fault, detect_ms: int = 50, seed: int = 1, until_s: float = 0.3, nodes: int = 2
) -> World:
    """Of nodes whose first one is master, so long after FAULT_S."""
    skews = (0, 100, 200)[:nodes]
    world = World(replace(group(*skews, faults=faults, seed=seed), detect_ms=detect_ms))
    world.run_until(FAULT_S - 0.001)
    assert masters(world, "1@lan") == masters(world, "1@wan") == ["fw1"]
    world.run_until(FAULT_S + until_s)
    return world


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("detect_ms", "within_s"), [(50, 0.16), (10, 0.04)])
@pytest.mark.parametrize("fault", [Crash(FAULT_S, None, 0), Kill(FAULT_S, None, 0)])
def test_a_dead_master_is_replaced_within_the_detection_time(
    fault: Fault, detect_ms: int, within_s: float, seed: int
) -> None:
    world = after(fault, detect_ms=detect_ms, seed=seed, until_s=within_s)
    assert masters(world, "1@lan") == masters(world, "1@wan") == ["fw2"]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "fault",
    [Split(FAULT_S, None, "lan", (0,)), OneWay(FAULT_S, None, "lan", 0, 1)],
    ids=["both ways", "one way"],
)
def test_a_master_that_is_heard_on_another_link_is_left_to_adverts(fault: Fault, seed: int) -> None:
    world = after(fault, seed=seed, until_s=2.0)
    assert took_over(world) == []


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("detect_ms", [10, 50])
@pytest.mark.parametrize("fault", [Pause, Suspend])
def test_a_master_that_stood_still_is_replaced_and_gave_up(
    fault: type[Pause] | type[Suspend], detect_ms: int, seed: int
) -> None:
    """For as short as the detection time, too: a group without a master would wait for seconds."""
    for for_s in (detect_ms * 0.0031, 0.5):
        world = after(fault(FAULT_S, for_s, 0), detect_ms=detect_ms, seed=seed, until_s=for_s + 0.2)
        now = masters(world, "1@lan")
        assert len(now) == 1
        assert now == masters(world, "1@wan")
        if for_s == 0.5:
            assert now == ["fw2"]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("fault", [Pause, Suspend])
def test_a_backup_that_stood_still_blames_nobody(
    fault: type[Pause] | type[Suspend], seed: int
) -> None:
    world = after(fault(FAULT_S, 1.0, 1), seed=seed, until_s=5.0)
    assert took_over(world) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_who_stops_on_purpose_hands_over_and_is_not_missed(seed: int) -> None:
    world = after(Command(FAULT_S, 0, "stop"), seed=seed, until_s=2.0)
    assert masters(world, "1@lan") == ["fw2"]
    assert set(took_over(world)) == {"fw2"}


@pytest.mark.parametrize("seed", SEEDS)
def test_of_three_the_better_one_takes_over_and_the_third_hears_it(seed: int) -> None:
    world = after(Crash(FAULT_S, None, 0), seed=seed, until_s=2.0, nodes=3)
    assert set(took_over(world)) == {"fw2"}


@search(4)
@given(plan=plans())
def test_the_invariants_hold_with_detection(plan: Plan) -> None:
    play(replace(plan, detect_ms=50))
