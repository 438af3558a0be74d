"""`carpool events`: from the process, or from the file that it left."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from carpool.cli.main import main
from carpool.errors import EXIT_FAILED, EXIT_OK, EXIT_UNREACHABLE
from tests.unit.api import answers
from tests.unit.api.process import process, saying


def events(run_dir: Path, *options: str) -> int:
    return main(["events", "--run-dir", str(run_dir), *options])


def test_from_the_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    requests: list[object] = []

    def play(connection: socket.socket, line: bytes) -> None:
        requests.append(json.loads(line))
        connection.sendall(json.dumps(answers.EVENTS).encode() + b"\n")

    with process(tmp_path / "failover.sock", play):
        assert events(tmp_path, "--limit", "7") == EXIT_OK
    assert requests == [{"command": "events", "limit": 7}]
    assert "BACKUP -> MASTER  no advertisement for 3.00 s" in capsys.readouterr().out


def test_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = json.dumps(answers.EVENTS).encode() + b"\n"
    with process(tmp_path / "failover.sock", saying(answer)):
        assert events(tmp_path, "--json") == EXIT_OK
    assert json.loads(capsys.readouterr().out) == {"events": answers.EVENTS["events"]}


def test_from_the_file_when_the_process_is_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = answers.EVENTS["events"]
    assert isinstance(kept, list)
    text = "".join(json.dumps(event) + "\n" for event in kept)
    (tmp_path / "failover.events").write_text(text + '{"half a li')
    assert events(tmp_path, "--limit", "2", "--json") == EXIT_UNREACHABLE
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"events": kept[-2:]}
    assert "start it with `carpool run failover`" in shown.err


def test_without_a_file_there_is_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert events(tmp_path) == EXIT_UNREACHABLE
    assert capsys.readouterr().out == "No events yet\n"
    assert list(tmp_path.iterdir()) == []  # looking leaves no trace


def test_a_refusal_is_no_reason_to_read_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with process(tmp_path / "failover.sock", saying(b'{"ok": false, "error": "no"}\n')):
        assert events(tmp_path) == EXIT_FAILED
    assert capsys.readouterr().err == "carpool: no\n"
