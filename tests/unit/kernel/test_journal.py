"""The journal: bounded, readable after a restart, and never an obstacle."""

from __future__ import annotations

import socket
import subprocess
import sys
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


def test_what_a_full_disk_did_not_take_is_stored_later(tmp_path: Path) -> None:
    path = tmp_path / "run" / "failover.events"
    kept = Journal(path)
    kept.add({"number": 1})
    kept.add({"number": 2})
    assert kept.broken.endswith("failover.events: No such file or directory")
    path.parent.mkdir()
    path.write_text('{"numb')  # what there was room for
    kept.store()
    assert not kept.broken
    kept.add({"number": 3})
    assert [event["number"] for event in Journal(path).last(10)] == [1, 2, 3]


def test_the_console_is_a_stdout_that_is_a_socket_of_its_own() -> None:
    """As systemd makes it; a terminal, a pipe and a file are told as everything else is."""
    said = "from carpool.kernel.journal import tell_console; tell_console('a line')"
    near, far = socket.socketpair()
    with near, far:
        done = subprocess.run(
            [sys.executable, "-c", said], stdout=far.fileno(), stderr=subprocess.PIPE, check=True
        )
        assert (near.recv(100), done.stderr) == (b"carpool: a line\n", b"")
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"carpool: a line\n")
