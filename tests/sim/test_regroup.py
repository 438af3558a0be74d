"""A group gets another group.toml in the middle of a bad day, node by node in any order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from tests.sim.checks import play
from tests.sim.groups import FAULT_S, group, masters
from tests.sim.plan import Change, Command, Fault, LinkDown, Plan, Split
from tests.sim.profile import TIMEOUT_S, search
from tests.sim.strategies import changing_plans
from tests.sim.world import World

ELECTED_S = 25.0  # the slowest advbase is 5 s

pytestmark = pytest.mark.timeout(TIMEOUT_S)


@search(50)
@given(plan=changing_plans())
def test_a_group_changes_on_a_bad_day(plan: Plan) -> None:
    play(plan)


@search(30)
@given(plan=changing_plans(settles=False))
def test_a_node_that_never_gets_the_change_stays_one_of_the_group(plan: Plan) -> None:
    play(plan)


@search(30)
@given(plan=changing_plans(max_faults=0))
def test_a_change_moves_no_role_by_itself(plan: Plan) -> None:
    """In whatever order nodes take it up, and are told that all have it."""
    nodes = tuple(replace(node, advskew=20 * n) for n, node in enumerate(plan.nodes))
    later = tuple(replace(one, at_s=one.at_s + ELECTED_S) for one in plan.changes)
    world = World(replace(plan, nodes=nodes, changes=later, await_bulk=False))
    world.run_until(world.plan.ends_s + ELECTED_S)
    assert not world.changing
    gone = {place for form in (plan.before, *later) if form for place in form.without}
    lasting = {str(key) for place, key in enumerate(world.keys) if place not in gone}
    moved = [line for line in world.trace if float(line.split()[0]) > ELECTED_S]
    moved = [line for line in moved if line.split()[2] in lasting and " -> " in line]
    assert moved == [], world.trace[-60:]


def form(advbase_s: int | None = None, late_s: tuple[float | None, ...] = (0.0, None)) -> Change:
    return Change(5.0, late_s, "another", advbase_s)


@pytest.mark.parametrize("advbases_s", [(2, 1), (1, 2)])
@pytest.mark.parametrize("late_s", [(0.0, None), (None, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize(
    "fault", [Command(FAULT_S, 0, "maintenance on"), LinkDown(FAULT_S, None, "lan", 0)]
)
def test_a_demoted_master_is_relieved_in_the_middle_of_a_change(
    advbases_s: tuple[int, int], late_s: tuple[float | None, ...], fault: Fault
) -> None:
    """advbase decides who is faster: a node that advertises the lower one while demoted would be
    faster than a peer that is well."""
    before, after = (form(one) for one in advbases_s)
    plan = group(0, 100, faults=(fault,))
    plan = replace(plan, before=before, changes=(replace(after, late_s=late_s),))
    world = World(plan)
    world.run_until(FAULT_S + 9)
    assert masters(world, "1@wan") == ["fw2"], world.trace
    world.run_until(FAULT_S + 40)
    assert [masters(world, "1@lan"), masters(world, "1@wan")] == [["fw2"], ["fw2"]]


@pytest.mark.parametrize("advbases_s", [(2, 1), (1, 2)])
@pytest.mark.parametrize("late_s", [(0.0, None), (None, 0.0)])
def test_two_masters_in_the_middle_of_a_change_do_not_both_let_go(
    advbases_s: tuple[int, int], late_s: tuple[float | None, ...]
) -> None:
    before, after = (form(one) for one in advbases_s)
    for tenth in range(10):
        split_s = 9.0 + tenth / 10
        apart = tuple(Split(FAULT_S, split_s, interface, (0,)) for interface in ("lan", "wan"))
        plan = replace(group(0, 100, faults=apart), before=before)
        world = World(replace(plan, changes=(replace(after, late_s=late_s),)))
        world.run_until(FAULT_S + split_s - 0.01)
        assert masters(world, "1@lan") == ["fw1", "fw2"]
        for _ in range(50):
            world.run_until(world.now_s + 0.1)
            assert masters(world, "1@lan"), world.trace[-20:]
