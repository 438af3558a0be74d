"""Planned moves on a network that is well: nothing is ever without an owner, nothing moves twice.

`stop`, `disable`, `switchover` and `maintenance` give the whole group away in one go; a lost link
moves all other VHIDs in the same instant; a better node that returns takes all.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.machine.effects import State
from carpool.model.config import VhostKey
from tests.sim.checks import SLACK_S, Bounds
from tests.sim.plan import DELAY_S, Command, Crash, LinkDown, NodePlan, Plan
from tests.sim.profile import SEARCH, TIMEOUT_S
from tests.sim.strategies import nodes, vips
from tests.sim.world import World

pytestmark = pytest.mark.timeout(TIMEOUT_S)

FAULT_S = 15.0  # by then somebody is master of all
MOVED_S = FAULT_S + 3 * DELAY_S + SLACK_S  # goodbye, advert of the successor, and a timer
END_S = FAULT_S + 15.0


@dataclass(slots=True)
class Gaps:
    """How long each VHID had no owner that can be reached."""

    since_s: dict[VhostKey, float] = field(default_factory=dict)
    gap_s: dict[VhostKey, float] = field(default_factory=dict)

    def observe(self, world: World) -> None:
        for key in world.keys:
            owned = any(box.owns(key) and box.link_up(key.interface) for box in world.boxes)
            if owned and key in self.since_s:
                lasted_s = world.now_s - self.since_s.pop(key)
                self.gap_s[key] = max(lasted_s, self.gap_s.get(key, 0.0))
            elif not owned:
                self.since_s.setdefault(key, world.now_s)


def healthy_groups(preempt: bool | None = None) -> st.SearchStrategy[Plan]:
    """Groups in which everybody's rank differs, so that it is known who is master."""
    distinct = nodes().map(
        lambda group: tuple(
            NodePlan(advskew=20 * index, drift_ppm=node.drift_ppm)
            for index, node in enumerate(group)
        )
    )
    return st.builds(
        Plan,
        seed=st.integers(0, 2**32 - 1),
        nodes=distinct,
        vips=vips(),
        preempt=st.booleans() if preempt is None else st.just(preempt),
        unicast=st.booleans(),
    )


def start(plan: Plan, gaps: Gaps) -> World:
    """Run until the best node, which boots first if there is no preemption, is master of all."""
    boots = tuple(Crash(0.0, 5.0, index) for index in range(1, len(plan.nodes)))
    world = World(replace(plan, faults=boots + plan.faults), (gaps,))
    world.run_until(FAULT_S - 0.001)
    assert masters(world) == dict.fromkeys(world.keys, (0,))
    gaps.since_s.clear()
    gaps.gap_s.clear()
    return world


def masters(world: World) -> dict[VhostKey, tuple[int, ...]]:
    return {
        key: tuple(
            box.index
            for box in world.boxes
            if box.engine is not None and box.engine.vhosts[key].state is State.MASTER
        )
        for key in world.keys
    }


@pytest.mark.parametrize("verb", ["stop", "disable", "switchover", "maintenance on"])
@SEARCH
@given(plan=healthy_groups())
def test_a_planned_move_leaves_no_gap_and_moves_once(verb: str, plan: Plan) -> None:
    gaps = Gaps()
    world = start(replace(plan, faults=(Command(FAULT_S, 0, verb),)), gaps)
    before = len(world.trace)
    world.run_until(END_S)
    assert masters(world) == dict.fromkeys(world.keys, (1,)), world.trace[before:]
    assert gaps.gap_s == {}, world.trace[before:]
    came_back = [line for line in world.trace[before:] if " fw1 " in line and "-> MASTER" in line]
    assert came_back == []


@SEARCH
@given(plan=healthy_groups(), lost=st.integers(0, 3))
def test_a_lost_link_moves_the_whole_group_at_once(plan: Plan, lost: int) -> None:
    interface = plan.interfaces[lost % len(plan.interfaces)]
    gaps = Gaps()
    world = start(replace(plan, faults=(LinkDown(FAULT_S, None, interface, 0),)), gaps)
    others = [key for key in world.keys if key.interface != interface]
    if others:
        world.run_until(MOVED_S)
        assert all(1 in masters(world)[key] for key in world.keys), world.trace[-30:]
    world.run_until(END_S)
    assert masters(world) == dict.fromkeys(world.keys, (1,)), world.trace[-30:]
    assert {key: gap for key, gap in gaps.gap_s.items() if key.interface != interface} == {}
    bound_s = MOVED_S - FAULT_S if others else Bounds.of(world.plan).without_owner_s
    assert all(gap_s <= bound_s for gap_s in gaps.gap_s.values()), gaps.gap_s


@SEARCH
@given(plan=healthy_groups(preempt=True), await_bulk=st.booleans())
def test_a_better_node_that_returns_takes_all_without_a_gap(plan: Plan, await_bulk: bool) -> None:
    gaps = Gaps()
    gone = Crash(FAULT_S, 10.0, 0)
    world = start(replace(plan, faults=(gone,), await_bulk=await_bulk), gaps)
    world.run_until(FAULT_S + 9.0)
    assert masters(world) == dict.fromkeys(world.keys, (1,)), world.trace[-30:]
    gaps.gap_s.clear()
    world.run_until(FAULT_S + 20.0)
    assert masters(world) == dict.fromkeys(world.keys, (0,)), world.trace[-30:]
    assert gaps.gap_s == {}
