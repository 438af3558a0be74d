"""Troubles of a process: found when it is time, and told where a person looks."""

from __future__ import annotations

import pytest

from carpool.model.status import Trouble
from carpool.service.troubles import LOOK_EVERY_S, TroubleTeller, of_disks


def test_each_line_goes_to_the_console_and_among_the_events(
    capfd: pytest.CaptureFixture[str],
) -> None:
    found = [Trouble("files", "group.toml:3: name", "carpool check", 0.0)]
    events: list[str] = []
    teller = TroubleTeller("fw1", lambda: found, lambda: "2026-11-23T15:00:00.123Z", events.append)
    assert teller.on_time(0.0)
    said = "group.toml:3: name. carpool check"
    assert events == [said]
    assert f"carpool: fw1: {said} (2026-11-23T15:00:00Z)\n" in "".join(capfd.readouterr())
    assert teller.about("master") == "master; TROUBLE: group.toml:3: name"
    found.clear()
    assert not teller.on_time(LOOK_EVERY_S / 2)
    assert teller.status(LOOK_EVERY_S / 2) == []
    assert teller.about("master") == "master"


def test_who_asks_all_the_time_puts_nothing_off() -> None:
    teller = TroubleTeller("fw1", list, lambda: "")
    assert teller.on_time(0.0)
    for tenth in range(1, 10):
        teller.status(tenth / 10)
    assert teller.deadline_s == LOOK_EVERY_S
    assert teller.on_time(LOOK_EVERY_S)


def test_a_disk_is_told_by_what_is_lost() -> None:
    told = of_disks({"the event log": "/run/x: No space left on device", "the flag": ""})
    assert [one.key for one in told] == ["disk the event log"]
    assert told[0].text == "the event log cannot be written: /run/x: No space left on device"
