"""Random groups through random bad days, under all judges of checks.py.

A failure prints the smallest plan found: paste it into test_regressions.py,
`play(Plan(...))` repeats it exactly.
"""

from __future__ import annotations

import pytest
from hypothesis import given

from tests.sim.checks import play
from tests.sim.plan import Plan
from tests.sim.profile import FRESH, search
from tests.sim.strategies import plans


@pytest.mark.timeout(36000 if FRESH else 240)
@search(200)
@given(plan=plans())
def test_a_group_survives_a_bad_day(plan: Plan) -> None:
    play(plan)
