"""The verbs of `carpool lab`, as far as they need no lab."""

from __future__ import annotations

from carpool.cli.lab import DIRECTIONS, SCENARIO_NAMES
from carpool.lab import losses, scenes


def test_the_command_line_knows_every_scenario() -> None:
    """It names them itself, so that `carpool --help` does not import the lab."""
    assert scenes.NAMES == SCENARIO_NAMES
    assert losses.DIRECTIONS == DIRECTIONS
