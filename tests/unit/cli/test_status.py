"""`carpool status` with one, both or none of the processes there."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from carpool.cli.main import main
from carpool.errors import EXIT_OK, EXIT_UNREACHABLE
from tests.unit.api import answers
from tests.unit.api.files import GROUP, write
from tests.unit.api.process import process, saying


def line(answer: dict[str, object]) -> bytes:
    return json.dumps(answer).encode() + b"\n"


def status(directory: Path, *options: str, failover: bool = False, states: bool = False) -> int:
    """Run it while the processes that are asked for answer."""
    with ExitStack() as running:
        if failover:
            play = saying(line(answers.failover()))
            running.enter_context(process(directory / "failover.sock", play))
        if states:
            running.enter_context(process(directory / "states.sock", saying(line(answers.STATES))))
        places = ["--config-dir", str(directory), "--run-dir", str(directory)]
        return main(["status", *places, *options])


def test_both_are_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(write(tmp_path), failover=True, states=True) == EXIT_OK
    shown = capsys.readouterr().out
    assert shown.startswith("fw1: master of all 2 VHIDs")
    assert "State replication: 1,234,567 states here" in shown


def test_states_are_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(write(tmp_path), failover=True) == EXIT_OK
    shown = capsys.readouterr().out
    assert shown.startswith("fw1: master of all 2 VHIDs")
    assert "State replication: DOWN" in shown


def test_failover_is_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(write(tmp_path), states=True) == EXIT_UNREACHABLE
    shown = capsys.readouterr().out
    assert shown.startswith("fw1: DOWN, the failover process tells nothing")
    assert "DOWN   52@wan  wan0" in shown
    assert "State replication: 1,234,567 states here" in shown


def test_both_are_down_and_the_files_are_broken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, node="name =")
    assert status(tmp_path) == EXIT_UNREACHABLE
    assert "`carpool check` says why" in capsys.readouterr().out


def test_states_that_nobody_asked_for_are_not_missed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, group=GROUP.partition("[states]")[0])
    assert status(tmp_path, failover=True) == EXIT_OK
    assert "State replication: not configured" in capsys.readouterr().out
    (tmp_path / "failover.sock").unlink()
    assert status(tmp_path, "--json", failover=True) == EXIT_OK
    assert json.loads(capsys.readouterr().out)["states"] is None


def test_an_agent_that_is_configured_and_dead_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, group=GROUP + '[sync]\ninterface = "sync"\n')
    assert status(tmp_path, failover=True) == EXIT_OK
    assert "Configuration: agent DOWN" in capsys.readouterr().out
    assert status(tmp_path, "--json") == EXIT_UNREACHABLE
    told = json.loads(capsys.readouterr().out)
    assert "the agent does not run" in told["agent"]["error"]
    assert told["waiting"] is None


@pytest.mark.parametrize("link", ['[sync]\ninterface = "sync"\nschedule = "daily"\n', ""])
def test_an_agent_that_hangs_is_waited_for_once(
    link: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, group=GROUP + link)
    with socket.socket(socket.AF_UNIX) as hangs:
        hangs.bind(str(tmp_path / "agent.sock"))
        hangs.listen(9)
        assert status(tmp_path, failover=True) == EXIT_OK
        hangs.setblocking(False)
        hangs.accept()[0].close()
        with pytest.raises(BlockingIOError):
            hangs.accept()


def test_what_waits_to_be_confirmed_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, group=GROUP + '[sync]\ninterface = "sync"\n')
    waits = {"what": "sync of web", "by": "alice on fw2", "left_s": 42.0}
    content = json.dumps({"peers": {}, "waiting": waits}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content)
    with process(tmp_path / "agent.sock", saying(head + content)):
        assert status(tmp_path, failover=True) == EXIT_OK
    shown = " ".join(capsys.readouterr().out.split())
    assert "sync of web of alice on fw2 waits: put back in 42 s, unless" in shown


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path)
    assert status(tmp_path, "--json", failover=True) == EXIT_OK
    answer = json.loads(capsys.readouterr().out)
    assert answer["failover"] == json.loads(line(answers.failover()))
    assert answer["drift"] is None  # no agent
    assert answer["states"] == {
        "error": f"the states process does not answer on {tmp_path}/states.sock: "
        "No such file or directory",
        "hint": "is it running? start it with `carpool run states`",
    }
    (tmp_path / "failover.sock").unlink()
    assert status(tmp_path, "--json", states=True) == EXIT_UNREACHABLE
    answer = json.loads(capsys.readouterr().out)
    assert set(answer["failover"]) == {"error", "hint"}
    assert answer["states"] == answers.STATES


@pytest.mark.parametrize(
    ("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)], ids=["colour", "NO_COLOR"]
)
def test_colour_on_a_terminal_unless_told_not_to(
    variables: dict[str, str], coloured: bool, tmp_path: Path
) -> None:
    assert ("\x1b[1;32m" in on_a_terminal(tmp_path, variables)) is coloured


def test_no_colour_in_a_pipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status(write(tmp_path), failover=True)
    assert "\x1b" not in capsys.readouterr().out


def on_a_terminal(directory: Path, variables: dict[str, str]) -> str:
    """What `carpool status` writes to a terminal."""
    ours, theirs = pty.openpty()
    places = ["--config-dir", str(write(directory)), "--run-dir", str(directory)]
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm", "COLUMNS": "80", **variables}
    try:
        with process(directory / "failover.sock", saying(line(answers.failover()))):
            subprocess.run(
                [sys.executable, "-m", "carpool", "status", *places],
                env=environment,
                stdout=theirs,
                timeout=30,
                check=True,
            )
        return os.read(ours, 65536).decode()
    finally:
        os.close(theirs)
        os.close(ours)
