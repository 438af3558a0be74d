"""What may break a node is told while it is applied, and not without end."""

from __future__ import annotations

import pytest

from carpool.agent.apply import Refused
from carpool.agent.hazards import TOLD_MAX, refuse_hazards, warnings_of
from carpool.machine.preflight import Hazard


def hazards(count: int, *, likely: bool = False) -> list[Hazard]:
    return [Hazard("/etc/a", line, "eth0", "why", "do", likely) for line in range(1, count + 1)]


def test_the_likely_ones_come_first_and_the_rest_is_counted() -> None:
    rows = list(warnings_of([*hazards(TOLD_MAX), *hazards(1, likely=True)]))
    assert len(rows) == TOLD_MAX + 1
    assert rows[0] == {"step": "warning", "text": "/etc/a:1: eth0: why (do)"} == rows[1]
    assert rows[-1]["text"] == "and 1 more of that kind"
    assert list(warnings_of([])) == []


def test_only_the_likely_ones_are_refused() -> None:
    refuse_hazards(hazards(3), "fw1")
    with pytest.raises(Refused, match="/etc/a:1: eth0") as caught:
        refuse_hazards(hazards(1, likely=True), "fw1")
    assert "mend it on fw1" in caught.value.hint
