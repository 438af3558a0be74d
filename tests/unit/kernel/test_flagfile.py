"""The flag file: written in the background, answered in order."""

from __future__ import annotations

from pathlib import Path

from carpool.kernel.clock import monotonic_s
from carpool.kernel.flagfile import FlagFile
from carpool.kernel.later import Later
from carpool.kernel.poller import Poller


def run_until(poller: Poller, answers: list[str | None], count: int) -> None:
    deadline_s = monotonic_s() + 10
    while len(answers) < count and monotonic_s() < deadline_s:
        poller.run_once(deadline_s)


def test_set_and_cleared_in_order_and_idempotent(tmp_path: Path) -> None:
    poller, answers = Poller(), list[str | None]()
    flag = FlagFile(tmp_path / "state" / "maintenance", Later("test", poller))
    assert not flag.is_set()
    for on in (True, True, False, False, True):
        flag.set(on, answers.append)
    run_until(poller, answers, 5)
    assert answers == [None] * 5
    assert flag.is_set()
    assert FlagFile(tmp_path / "state" / "maintenance", Later("test", Poller())).is_set()


def test_its_words_are_there_as_long_as_it_is_set(tmp_path: Path) -> None:
    poller, answers = Poller(), list[str | None]()
    flag = FlagFile(tmp_path / "maintenance", Later("test", poller))
    assert flag.text() == ""
    for on, text, kept in (
        (True, "", ""),
        (True, "new disk", "new disk"),
        (True, "", "new disk"),
        (True, "x" * 300, "x" * 200),
        (False, "", ""),
        (True, "", ""),
    ):
        answers.clear()
        flag.set(on, answers.append, text)
        run_until(poller, answers, 1)
        assert (answers, flag.text(), flag.is_set()) == ([None], kept, on)
    (tmp_path / "maintenance").write_bytes(b"\xff")
    assert flag.text() == "\N{REPLACEMENT CHARACTER}", "nothing keeps the process from its start"


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a directory should be")
    poller, answers = Poller(), list[str | None]()
    FlagFile(tmp_path / "state" / "maintenance", Later("test", poller)).set(True, answers.append)
    run_until(poller, answers, 1)
    assert answers[0] is not None and "maintenance: " in answers[0]


def test_what_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a directory should be")
    poller, answers = Poller(), list[str | None]()
    later = Later("test", poller)
    flag = FlagFile(tmp_path / "state" / "maintenance", later)
    flag.set(True, answers.append)
    run_until(poller, answers, 1)
    assert "maintenance: " in flag.unwritten
    (tmp_path / "state").unlink()
    flag.set_again()
    later.do(lambda: None, answers.append)  # after it
    run_until(poller, answers, 2)
    assert flag.is_set() and not flag.unwritten
