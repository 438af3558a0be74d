"""The journal: bounded, readable after a restart, and never an obstacle."""

from __future__ import annotations

from pathlib import Path

from carpool.kernel import journal
from carpool.kernel.journal import Journal


def test_events_survive_a_restart_of_the_process(tmp_path: Path) -> None:
    path = tmp_path / "failover.events"
    first = Journal(path)
    for number in range(3):
        first.add({"kind": "note", "number": number})
    again = Journal(path)
    again.add({"kind": "note", "number": 3})
    assert [event["number"] for event in again.last(10)] == [0, 1, 2, 3]
    assert [event["number"] for event in again.last(2)] == [2, 3]
    assert again.last(0) == []


def test_half_written_line_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "failover.events"
    path.write_text('{"number":1}\n[]\n{"numb')
    assert [event["number"] for event in Journal(path).last(10)] == [1]


def test_file_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "failover.events"
    kept = Journal(path)
    filler = "x" * 10_000
    for number in range(2 * journal.FILE_MAX_BYTES // len(filler)):
        kept.add({"number": number, "text": filler})
    files = sorted(file.name for file in tmp_path.iterdir())
    assert files == ["failover.events", "failover.events.1"]
    assert all(file.stat().st_size < journal.FILE_MAX_BYTES + 20_000 for file in tmp_path.iterdir())
    assert len(kept.last(10_000)) <= journal.KEPT_EVENTS


def test_unwritable_file_loses_nothing_in_memory(tmp_path: Path) -> None:
    kept = Journal(tmp_path / "no" / "such" / "directory")
    kept.add({"number": 1})
    assert [event["number"] for event in kept.last(10)] == [1]
