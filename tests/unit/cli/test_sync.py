"""What the verbs of configuration say of the agent's answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from carpool.cli import sync
from carpool.cli.main import main
from carpool.errors import EXIT_FAILED, EXIT_OK
from tests.unit.api.process import process, saying

KEPT = {"kept": "sync of web"}
IDLE = {"error": "fw3: nothing waits to be confirmed here", "hint": "", "waited": False}
STUCK = {"error": "it could not be put back", "hint": "mend that", "waited": True}


@pytest.mark.parametrize(
    ("done", "code"),
    [
        ({"fw2": KEPT}, EXIT_OK),
        ({"fw2": KEPT, "fw3": IDLE}, EXIT_OK),
        ({"fw3": IDLE}, EXIT_FAILED),
        ({"fw2": KEPT, "fw3": STUCK}, EXIT_FAILED),
        ({}, EXIT_FAILED),
    ],
)
def test_who_waited_and_did_not_do_it_is_a_failure(
    done: dict[str, dict[str, object]], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sync.decided(done) == code
    said = capsys.readouterr().out
    assert ("fw2: sync of web\n" in said) == ("fw2" in done)
    assert ("fw3: nothing waits to be confirmed here\n" in said) == (done.get("fw3") == IDLE)
    assert ("fw3: it could not be put back (mend that)\n" in said) == (done.get("fw3") == STUCK)


def test_what_a_peer_says_steers_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sync.decided({"fw2\x1b[2J": {"error": "no\x1b]0;x\x07\nroom", "hint": "\x9b1m"}})
    assert capsys.readouterr().out == "fw2?[2J: no?]0;x?\n  room (?1m)\n"
    refusal = {"error": "fw2: \x1b[2Jno", "hint": "\x1b[31msay it\nagain"}
    content = json.dumps(refusal).encode()
    head = b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n" % len(content)
    with process(tmp_path / "agent.sock", saying(head + content)):
        assert main(["--run-dir", str(tmp_path), "history"]) == EXIT_FAILED
    told = capsys.readouterr().err
    assert told == "carpool: fw2: ?[2Jno\n         ?[31msay it\n         again\n"


def test_a_sync_with_nobody_is_no_success() -> None:
    over: dict[str, object] = {"step": "over", "failed": []}
    alone = list(sync.to_somebody(iter([{"step": "look"}, over])))
    assert [event["step"] for event in alone] == ["look", "end", "over"]
    assert "no peer" in alone[1]["error"]
    offered: list[dict[str, object]] = [{"step": "offer", "peer": "fw2"}, over]
    assert list(sync.to_somebody(iter(offered))) == offered


@pytest.mark.parametrize("limit", ["0", "-4", "1001", "x"])
def test_a_number_that_cannot_be_is_refused(limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["history", f"--limit={limit}"])
    assert f"{limit!r} is no number from 1 to 1000" in capsys.readouterr().err
