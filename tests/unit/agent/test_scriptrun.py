"""Programs of the operator's, run for real."""

from __future__ import annotations

import asyncio
from pathlib import Path

from carpool.agent.scriptrun import OUTPUT_MAX_BYTES, Call, DirectRunner, Ran
from carpool.kernel.clock import monotonic_s


def run(script: str, *, timeout_s: float = 10.0, document: bytes = b"") -> Ran:
    call = Call("test", ("/bin/sh", "-c", script), {"CARPOOL_TO": "MASTER"}, document, timeout_s)
    return asyncio.run(DirectRunner(monotonic_s).run(call))


def test_document_environment_and_last_line() -> None:
    ran = run('cat; echo "$CARPOOL_TO $HOME"; echo; pwd >&2; exit 3', document=b'{"a": 1}\n')
    assert (ran.ok, ran.status, ran.words) == (False, 3, "exit status 3")
    assert ran.output == '{"a": 1}\nMASTER /root\n\n/\n'
    assert ran.last_line == "/"


def test_a_document_that_is_not_read_stops_nobody() -> None:
    assert run("true", document=b"x" * 1_000_000).ok


def test_a_signal_has_its_name() -> None:
    assert run("kill -KILL $$").words == "ended by SIGKILL"


def test_what_cannot_be_started_says_why(tmp_path: Path) -> None:
    call = Call("test", (str(tmp_path / "none"),), {}, b"", 1.0)
    ran = asyncio.run(DirectRunner(monotonic_s).run(call))
    assert ran.words == "cannot be started: No such file or directory"
    assert not ran.ok


def test_output_is_bounded_and_its_end_is_kept() -> None:
    ran = run("i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done")
    assert len(ran.output) <= OUTPUT_MAX_BYTES
    assert ran.output.startswith("line ")
    assert ran.last_line == "line 4999"


def test_who_gets_sigterm_may_end_by_itself() -> None:
    ran = run("trap 'echo tidy; exit 0' TERM; while :; do sleep 0.01; done", timeout_s=1)
    assert ran.words == "did not end in 1 s, and was ended"
    assert (ran.status, ran.last_line) == (None, "tidy")


def test_what_it_leaves_behind_is_ended_and_not_waited_for() -> None:
    ran = run("sleep 100 & echo $!")
    assert ran.ok
    assert not Path(f"/proc/{ran.last_line}/exe").exists()
    assert ran.took_s < 50
