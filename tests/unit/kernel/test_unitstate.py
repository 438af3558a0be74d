"""What is said of a unit, from what `systemctl show` prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from carpool.kernel.unitstate import of_unit, told

UNIT = "carpool-failover.service"
DEAD = {"LoadState": "loaded", "ActiveState": "inactive", "SubState": "dead", "Result": "success"}


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (
            {"ActiveState": "failed", "SubState": "failed", "Result": "exit-code"},
            "is failed (failed), result exit-code",
        ),
        (
            {
                "ActiveState": "active",
                "SubState": "running",
                "StatusText": "TROUBLE: failover waits for a configuration: group.toml: file",
            },
            "is active (running); it said: TROUBLE: failover waits for a configuration: "
            "group.toml: file",
        ),
        ({"ConditionResult": "no"}, "is inactive (dead), as there is no configuration"),
        ({}, "is inactive (dead)"),
    ],
)
def test_what_systemd_knows(shown: dict[str, str], said: str) -> None:
    assert told(UNIT, {**DEAD, **shown}) == f"{UNIT} {said}"


def test_where_there_is_no_unit_nothing_is_said(tmp_path: Path) -> None:
    assert told(UNIT, {**DEAD, "LoadState": "not-found"}) == ""
    assert told(UNIT, {}) == ""
    assert of_unit(tmp_path, "failover") == ""
