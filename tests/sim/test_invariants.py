"""Random groups through random bad days, under all judges of checks.py.

CARPOOL_SIM_EXAMPLES=N draws N fresh plans a test (script/soak); without it the same few hundred
every time. A failure prints the smallest plan found: paste it into test_regressions.py,
`play(Plan(...))` repeats it exactly.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings

from tests.sim.checks import play
from tests.sim.plan import Plan
from tests.sim.strategies import plans

EXAMPLES = int(os.environ.get("CARPOOL_SIM_EXAMPLES", "0"))
SEARCH = settings(
    max_examples=EXAMPLES or 200,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.timeout(60 if not EXAMPLES else 36000)
@SEARCH
@given(plan=plans())
def test_a_group_survives_a_bad_day(plan: Plan) -> None:
    play(plan)
