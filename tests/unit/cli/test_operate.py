"""The verbs that move the mastership: what is asked, and what is said about the answer."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from carpool.cli.main import main
from carpool.errors import EXIT_FAILED, EXIT_OK, EXIT_UNREACHABLE
from tests.unit.api.process import process

VERBS = [
    (["maintenance", "on"], {"command": "maintenance", "on": True}),
    (["maintenance", "off"], {"command": "maintenance", "on": False}),
    (
        ["maintenance", "on", "--reason", "new disk"],
        {"command": "maintenance", "on": True, "reason": "new disk"},
    ),
    (["disable"], {"command": "disable"}),
    (["enable"], {"command": "enable"}),
    (["switchover"], {"command": "switchover"}),
]


def operate(run_dir: Path, arguments: list[str], answer: dict[str, object]) -> tuple[int, object]:
    """The exit code, and the request that the process got."""
    requests: list[object] = []

    def play(connection: socket.socket, line: bytes) -> None:
        requests.append(json.loads(line))
        connection.sendall(json.dumps(answer).encode() + b"\n")

    with process(run_dir / "failover.sock", play):
        code = main([*arguments, "--run-dir", str(run_dir)])
    assert len(requests) == 1
    return code, requests[0]


@pytest.mark.parametrize(("arguments", "asked"), VERBS)
def test_each_verb_asks_once(arguments: list[str], asked: object, tmp_path: Path) -> None:
    assert operate(tmp_path, arguments, {"ok": True, "changed": True}) == (EXIT_OK, asked)


@pytest.mark.parametrize(
    ("arguments", "changed", "unchanged"),
    [
        (["maintenance", "on"], "maintenance mode is on: ", "already in maintenance mode\n"),
        (["maintenance", "off"], "maintenance mode is off\n", "not in maintenance mode already\n"),
        (["disable"], "disabled: ", "already disabled\n"),
        (["enable"], "enabled\n", "already enabled\n"),
    ],
)
def test_saying_it_twice_is_told_and_no_failure(
    arguments: list[str],
    changed: str,
    unchanged: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    operate(tmp_path, arguments, {"ok": True, "changed": True})
    assert capsys.readouterr().out.startswith(changed)
    (tmp_path / "failover.sock").unlink()
    code, _ = operate(tmp_path, arguments, {"ok": True, "changed": False})
    assert (code, capsys.readouterr().out) == (EXIT_OK, unchanged)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"took_s": 0.012345, "text": "fw2 took over"}, "fw2 took over after 12 ms\n"),
        ({"took_s": 0.0, "text": "this node is not master"}, "this node is not master\n"),
        ({}, "done\n"),
    ],
)
def test_a_switchover_says_who_took_over(
    answer: dict[str, object], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = operate(tmp_path, ["switchover"], {"ok": True, **answer})
    assert (code, capsys.readouterr().out) == (EXIT_OK, said)


@pytest.mark.parametrize(("arguments", "asked"), VERBS)
def test_a_refusal(
    arguments: list[str], asked: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused: dict[str, object] = {"ok": False, "error": "nobody took over", "hint": "start a peer"}
    assert operate(tmp_path, arguments, refused) == (EXIT_FAILED, asked)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "carpool: nobody took over\n         start a peer\n")


@pytest.mark.parametrize(("arguments", "asked"), VERBS)
def test_nobody_to_ask(arguments: list[str], asked: object, tmp_path: Path) -> None:
    assert main([*arguments, "--run-dir", str(tmp_path)]) == EXIT_UNREACHABLE
