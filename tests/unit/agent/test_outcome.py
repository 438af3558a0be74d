"""What became of a change is known to the next agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from carpool.agent.outcome import LAPSED, Outcomes
from carpool.agent.record import Agreed
from carpool.errors import KernelError

NEWS = {"web": Agreed("a" * 64, "b" * 64, "fw1", "2026-11-23T08:00:00.000Z")}


def begun(directory: Path) -> Outcomes:
    outcomes = Outcomes(directory)
    outcomes.begin("7", "sync of web")
    return outcomes


def test_a_change_that_was_cut_short_has_failed(tmp_path: Path) -> None:
    begun(tmp_path)
    again = Outcomes(tmp_path)
    assert again.of("7") is None
    assert again.recover(put_back=True) == {}
    end = again.of("7")
    assert end is not None
    assert "everything is as it was before" in str(end["error"])
    assert Outcomes(tmp_path).of("7") == end
    assert again.of("8") is None


@pytest.mark.parametrize("put_back", [False, True])
def test_whether_it_was_kept_is_what_the_journal_says(tmp_path: Path, put_back: bool) -> None:
    begun(tmp_path).keep(NEWS)
    again = Outcomes(tmp_path)
    assert again.recover(put_back=put_back) == ({} if put_back else NEWS)
    end = again.of("7")
    assert end is not None
    assert end["outcome"] == ("failed" if put_back else "applied")
    assert again.recover(put_back=False) == {}  # once


def test_what_waited_to_be_confirmed_was_put_back_or_kept(tmp_path: Path) -> None:
    waiting = {"step": "end", "outcome": "waiting"}
    begun(tmp_path).end(waiting)
    assert Outcomes(tmp_path).since("7", waiting, "") == LAPSED
    assert Outcomes(tmp_path).recover(put_back=False) == {}
    assert Outcomes(tmp_path).of("7") == LAPSED, "put back before: it would have been just now"
    begun(tmp_path).end(waiting)
    Outcomes(tmp_path).recover(put_back=True)
    end = Outcomes(tmp_path).of("7")
    assert end is not None
    assert end["outcome"] == "failed"
    begun(tmp_path).end(waiting)
    Outcomes(tmp_path).keep(NEWS)
    assert Outcomes(tmp_path).recover(put_back=False) == NEWS


def test_an_end_stays(tmp_path: Path) -> None:
    end = {"step": "end", "outcome": "failed", "error": "reload webd: no", "hint": ""}
    begun(tmp_path).end(end)
    assert Outcomes(tmp_path).recover(put_back=False) == {}
    assert Outcomes(tmp_path).of("7") == end


@pytest.mark.parametrize("text", ["", "[]", "{", '{"agreed": 7, "number": "7"}'])
def test_a_damaged_file_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "outcome.json").write_text(text)
    assert Outcomes(tmp_path).recover(put_back=False) == {}


def test_what_cannot_be_written_is_told_where_it_matters(tmp_path: Path) -> None:
    outcomes = begun(tmp_path / "sync")
    (tmp_path / "sync/outcome.json").unlink()
    (tmp_path / "sync").rmdir()
    (tmp_path / "sync").write_text("in the way")
    with pytest.raises(KernelError, match="write"):
        outcomes.keep(NEWS)
    end = {"step": "end", "outcome": "applied"}
    outcomes.end(end)
    assert outcomes.of("7") == end
