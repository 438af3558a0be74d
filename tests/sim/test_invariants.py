"""Random groups through random bad days, under all judges of checks.py.

A failure prints the smallest plan found: paste it into test_regressions.py,
`play(Plan(...))` repeats it exactly.
"""

from __future__ import annotations

import pytest
from hypothesis import given

from tests.sim.checks import play
from tests.sim.plan import Plan
from tests.sim.profile import TIMEOUT_S, search
from tests.sim.strategies import plans

pytestmark = pytest.mark.timeout(TIMEOUT_S)


@search(200)
@given(plan=plans())
def test_a_group_survives_a_bad_day(plan: Plan) -> None:
    play(plan)


@search(40)
@given(plan=plans(one_way=True))
def test_nobody_is_without_a_gateway_where_hearing_is_not_mutual(plan: Plan) -> None:
    """One-way paths are among the faults: less is asked then, see checks.py."""
    play(plan)
