"""The verbs of `carpool lab`, as far as they need no lab."""

from __future__ import annotations

from carpool.cli.lab import SCENARIO_NAMES
from carpool.lab.faults import SCENARIOS


def test_the_command_line_knows_every_scenario() -> None:
    """It names them itself, so that `carpool --help` does not import the lab."""
    assert tuple(SCENARIOS) == SCENARIO_NAMES
