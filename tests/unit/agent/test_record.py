"""What was agreed, and the drift that follows from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from carpool.agent.record import Agreed, Record, drift
from carpool.model.section import Drift

ONE = Agreed("source", "live", "fw1", "2026-01-01T00:00:00.000Z")


def test_it_is_kept_section_by_section(tmp_path: Path) -> None:
    record = Record(tmp_path / "sync")
    assert record.read() == {}
    record.write({"nginx": ONE})
    other = Agreed("other", "live", "fw1", "2026-01-02T00:00:00.000Z")
    record.write({"hosts": other})
    assert Record(tmp_path / "sync").read() == {"nginx": ONE, "hosts": other}


@pytest.mark.parametrize("content", ["", "{", '{"nginx": {"strange": 1}}', "[]", "\0"])
def test_a_damaged_file_says_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "agreed.json").write_text(content, encoding="utf-8")
    assert Record(tmp_path).read() == {}


@pytest.mark.parametrize(
    ("source", "agreed", "live", "expected"),
    [
        ("source", ONE, "live", Drift.IN_SYNC),
        ("newer", ONE, "live", Drift.AHEAD),
        ("source", ONE, "edited", Drift.DIFFERS),
        ("edited", ONE, "edited", Drift.IN_SYNC),  # the same change by hand on both
        ("newer", ONE, "edited", Drift.DIFFERS),
        ("source", None, "source", Drift.IN_SYNC),
        ("source", None, "other", Drift.UNKNOWN),
        ("source", ONE, None, Drift.UNKNOWN),
    ],
)
def test_drift(source: str, agreed: Agreed | None, live: str | None, expected: Drift) -> None:
    assert drift(source, agreed, live) is expected


def test_lines_that_each_node_keeps_are_no_drift() -> None:
    assert drift("of the backup", ONE, "live", "live") is Drift.IN_SYNC
    assert drift("of the backup", ONE, "live", "newer") is Drift.AHEAD
    assert drift("of the backup", ONE, "edited", "live") is Drift.DIFFERS
