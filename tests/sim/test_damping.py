"""A group that is damped: it moves less, and is never without a master for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.model.damping import Damping
from tests.sim.checks import play
from tests.sim.groups import FAULT_S, group, masters, took_over
from tests.sim.plan import Command, Crash, LinkDown, Plan
from tests.sim.profile import TIMEOUT_S, search
from tests.sim.strategies import BEGIN_S, END_S, plans, tenths
from tests.sim.world import World

pytestmark = pytest.mark.timeout(TIMEOUT_S)


@st.composite
def damped_plans(draw: st.DrawFn) -> Plan:
    """Plans with checks that fail and pass, on nodes that mind how often they moved."""
    plan = draw(plans(max_faults=6))
    verb = st.sampled_from(("check fails", "check passes"))
    node = st.integers(0, len(plan.nodes) - 1)
    words = draw(st.lists(st.builds(Command, tenths(BEGIN_S, END_S), node, verb), max_size=12))
    damping = st.builds(
        Damping, st.sampled_from((0, 2, 10)), st.sampled_from((0, 3, 20)), st.integers(2, 8)
    )
    faults = sorted((*plan.faults, *words), key=lambda fault: fault.at_s)
    return replace(plan, faults=tuple(faults), damping=draw(damping))


@search(40)
@given(plan=damped_plans())
def test_a_damped_group_survives_a_bad_day(plan: Plan) -> None:
    """All judges of the others: who dies or loses a link is replaced as fast as ever."""
    play(plan)


def flapping(node: int, every_s: float = 20.0, times: int = 20) -> tuple[Command, ...]:
    """A check that fails for half of each period."""
    begins = [FAULT_S + n * every_s for n in range(times)]
    return tuple(
        command
        for at_s in begins
        for command in (
            Command(at_s, node, "check fails"),
            Command(at_s + every_s / 2, node, "check passes"),
        )
    )


def test_a_flapping_check_ends_on_the_node_that_is_well() -> None:
    plan = group(0, 100, faults=flapping(0))
    assert len(took_over(played(plan))) > 30
    for limit in (2, 3, 6, 7):
        world = played(replace(plan, damping=Damping(moves_per_hour=limit)))
        assert limit - 1 <= moves(world) <= limit
        assert masters(world, "1@lan") == ["fw2"], limit


def test_checks_that_flap_in_turn_leave_the_group_where_it_is() -> None:
    late = tuple(replace(one, at_s=one.at_s + 10) for one in flapping(1))
    faults = tuple(sorted((*flapping(0), *late), key=lambda one: one.at_s))
    world = played(replace(group(0, 100, faults=faults), damping=Damping(moves_per_hour=4)))
    assert moves(world) == 4


@pytest.mark.parametrize(
    "damping", [Damping(moves_per_hour=2), Damping(hold_down_s=600, preempt_delay_s=600)]
)
def test_a_master_that_dies_is_replaced_whatever_is_damped(damping: Damping) -> None:
    flaps = flapping(0, times=4)
    dies_s = flaps[-1].at_s + 5
    for fault in (Crash(dies_s, None, 1), LinkDown(dies_s, None, "lan", 1)):
        world = played(replace(group(0, 100, faults=(*flaps, fault)), damping=damping))
        assert masters(world, "1@wan") == masters(world, "1@lan") == ["fw1"]


def test_a_node_that_is_back_waits_before_it_takes_over() -> None:
    plan = group(0, 100, faults=(Crash(FAULT_S, 5.0, 0),))
    world = played(replace(plan, damping=Damping(preempt_delay_s=60)))
    back_s = FAULT_S + 5.0
    moved_s = [
        float(line.split()[0]) for line in world.trace if "fw1" in line and "-> MASTER" in line
    ]
    assert back_s + 60 <= moved_s[-1] < back_s + 62.5


def test_what_fails_on_all_nodes_alike_moves_nothing() -> None:
    both = tuple(
        Command(FAULT_S + late_s, node, "check fails") for node, late_s in ((1, 0), (0, 1))
    )
    world = played(group(0, 100, faults=both))
    assert took_over(world) == []
    assert masters(world, "1@lan") == ["fw1"]


def played(plan: Plan) -> World:
    world = World(plan)
    world.run_until(plan.ends_s + 80)
    return world


def moves(world: World) -> int:
    """Of the whole group, which has two VHIDs."""
    return len(took_over(world)) // 2
