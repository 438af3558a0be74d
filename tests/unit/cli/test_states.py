"""`carpool states`, `states verify` and `states resync` against a process that plays its part."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from carpool.cli.main import main
from carpool.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_UNREACHABLE, EXIT_USAGE
from carpool.proto import ctmessage as ct
from tests.unit.api import answers
from tests.unit.api.process import process, saying
from tests.unit.proto.ctsamples import recorded

Output = pytest.CaptureFixture[str]


def ask(directory: Path, *words: str, answer: object = None) -> int:
    run_dir = str(directory)
    if answer is None:
        return main(["--run-dir", run_dir, "states", *words])
    with process(directory / "states.sock", saying(json.dumps(answer).encode() + b"\n")):
        return main(["--run-dir", run_dir, "states", *words])


def result(peer: str = "fw2", **more: object) -> dict[str, object]:
    equal = {"missing_there": 0, "extra_there": 0, "different": 0}
    lists: dict[str, object] = {name: [] for name in equal}
    sizes = {"entries_here": 12345, "entries_there": 12344, "took_s": 3.21}
    return {"peer": peer, "error": None, "counts": equal, **sizes, **lists, **more}


def results(*each: dict[str, object]) -> dict[str, object]:
    return {"ok": True, "results": list(each)}


DUMP = recorded()["plain-tcp-snat-dump"]
ENTRY = ct.parse(DUMP)
assert isinstance(ENTRY, ct.Entry)
CREATE = ct.create_request(ENTRY)
LINE = (
    "tcp      6 {} TIME_WAIT src=10.1.0.10 dst=10.2.0.10 sport=56776 dport=80 "
    "src=10.2.0.10 dst=10.2.0.100 sport=80 dport=56776 [ASSURED] mark=0"
)
DRIFTED = result(
    counts={"missing_there": 2, "extra_there": 0, "different": 2000},
    missing_there=[CREATE.hex(), "not hex\x1b"],
    different=[{"here": DUMP.hex(), "there": CREATE.hex()}],
)


def test_the_page(tmp_path: Path, capsys: Output) -> None:
    assert ask(tmp_path, answer=answers.STATES) == EXIT_OK
    assert "1,234,567 states here" in capsys.readouterr().out


def test_the_page_as_json(tmp_path: Path, capsys: Output) -> None:
    assert ask(tmp_path, "--json", answer=answers.STATES) == EXIT_OK
    assert json.loads(capsys.readouterr().out) == answers.STATES


def test_no_process(tmp_path: Path, capsys: Output) -> None:
    assert ask(tmp_path) == EXIT_UNREACHABLE
    assert "State replication: DOWN" in capsys.readouterr().out
    assert ask(tmp_path, "--json") == EXIT_UNREACHABLE
    assert set(json.loads(capsys.readouterr().out)) == {"error", "hint"}
    assert ask(tmp_path, "verify") == EXIT_UNREACHABLE
    assert "carpool run states" in capsys.readouterr().err


def test_directories_may_stand_after_the_part(tmp_path: Path, capsys: Output) -> None:
    answer = json.dumps(results(result())).encode() + b"\n"
    with process(tmp_path / "states.sock", saying(answer)):
        assert main(["states", "verify", "--run-dir", str(tmp_path)]) == EXIT_OK
    assert "fw2: equal" in capsys.readouterr().out


def test_watching_goes_on_until_it_is_interrupted(tmp_path: Path) -> None:
    """Also over a process that is gone and comes back."""
    argv = [sys.executable, "-m", "carpool", "states", "--run-dir", str(tmp_path), "--watch"]
    master, slave = pty.openpty()
    with subprocess.Popen(argv, stdout=slave, env={**os.environ, "TERM": "vt100"}) as child:
        os.close(slave)
        try:
            assert shown(master, b"State replication: DOWN")
            play = saying(json.dumps(answers.STATES).encode() + b"\n")
            with process(tmp_path / "states.sock", play):
                assert shown(master, b"1,234,567 states here")
            child.send_signal(signal.SIGINT)
            drain(master)  # or what it says last would wait for a reader
            assert child.wait(timeout=20) == EXIT_INTERRUPTED
        finally:
            child.kill()
            os.close(master)


def shown(terminal: int, text: bytes) -> bool:
    """Whether it comes within 20 s."""
    seen = b""
    while text not in seen and select.select([terminal], [], [], 20)[0]:
        seen += os.read(terminal, 4096)
    return text in seen


def drain(terminal: int) -> None:
    """Read all until nobody has it open (EIO)."""
    with suppress(OSError):
        while select.select([terminal], [], [], 20)[0]:
            os.read(terminal, 4096)


def test_equal_tables(tmp_path: Path, capsys: Output) -> None:
    assert ask(tmp_path, "verify", answer=results(result(), result("fw3"))) == EXIT_OK
    assert capsys.readouterr().out == (
        "fw2: equal   (12,345 here, 12,344 there, compared in 3.2 s)\n"
        "fw3: equal   (12,345 here, 12,344 there, compared in 3.2 s)\n"
    )


def test_differences_are_lines_as_of_conntrack(tmp_path: Path, capsys: Output) -> None:
    assert ask(tmp_path, "verify", "fw2", answer=results(DRIFTED)) == EXIT_FAILED
    assert capsys.readouterr().out == (
        "fw2: DIFFERENT: 2 missing there, 2,000 different   "
        "(12,345 here, 12,344 there, compared in 3.2 s)\n"
        "  missing there:\n"
        f"    {LINE.format(119)}\n"
        "    not hex?\n"
        "  different:\n"
        f"    here:  {LINE.format(119)}\n"
        f"    there: {LINE.format(119)}\n"
        "    and 1,999 more\n"
    )


def test_differences_as_json(tmp_path: Path, capsys: Output) -> None:
    assert ask(tmp_path, "verify", "--json", answer=results(DRIFTED)) == EXIT_FAILED
    (found,) = json.loads(capsys.readouterr().out)["results"]
    assert found["missing_there"] == [LINE.format(119), "not hex?"]
    assert found["different"] == [{"here": LINE.format(119), "there": LINE.format(119)}]
    assert found["counts"]["different"] == 2000


def test_what_is_put_right_is_well(tmp_path: Path, capsys: Output) -> None:
    answer = results(result(counts={"missing_there": 3, "extra_there": 1, "different": 0}))
    assert ask(tmp_path, "resync", answer=answer) == EXIT_OK
    shown = capsys.readouterr().out
    assert shown.startswith("fw2: put right: 3 missing there, 1 there and not here   (")


def test_a_peer_that_cannot_be_asked(tmp_path: Path, capsys: Output) -> None:
    lost: dict[str, object] = {"peer": "fw3", "error": "no stream with it"}
    assert ask(tmp_path, "verify", answer=results(DRIFTED, lost)) == EXIT_UNREACHABLE
    assert "fw3: could not be compared with: no stream with it\n" in capsys.readouterr().out


def test_an_older_process(tmp_path: Path, capsys: Output) -> None:
    refusal = {"ok": False, "error": "unknown command 'verify'", "hint": "see ARCHITECTURE.md"}
    assert ask(tmp_path, "verify", answer=refusal) == EXIT_FAILED
    assert capsys.readouterr().err == (
        "carpool: the states process that runs is older than this command: it knows no 'verify'\n"
        "         restart it on this node: systemctl restart carpool-states\n"
    )


@pytest.mark.parametrize(
    "words",
    [
        ("verify", "--timeout", "0"),
        ("list", "-s", "10.0.0.0/33"),
        ("list", "-m", "-1"),
        ("list", "--sport", "65536"),
        ("list", "--state", "SLEEPY"),
        ("list", "-p", "tpc"),
        ("--json", "--watch"),
    ],
)
def test_wrong_words(tmp_path: Path, capsys: Output, words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as left:
        ask(tmp_path, *words)
    assert left.value.code == EXIT_USAGE
    assert words[-1][:8] in capsys.readouterr().err
