"""Since when a section stands as it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from carpool.agent.seen import Seen
from carpool.agent.send import Stand
from carpool.model.section import Drift

SILENT = Stand(Drift.UNKNOWN, "cannot connect", silent=True)


def ticking() -> Callable[[], str]:
    """A clock that is one further at each look."""
    times: Iterator[int] = count(1)
    return lambda: str(next(times))


def looked(seen: Seen, state: Drift | Stand) -> str:
    stand = state if isinstance(state, Stand) else Stand(state)
    return seen.note({"fw2": {"web": stand}})["fw2"]["web"]


def test_the_first_look_that_found_it_so_counts(tmp_path: Path) -> None:
    seen = Seen(tmp_path / "sync", ticking())
    states = [Drift.IN_SYNC, Drift.IN_SYNC, Drift.AHEAD, Drift.AHEAD, Drift.IN_SYNC]
    assert [looked(seen, one) for one in states] == ["1", "1", "3", "3", "5"]
    again = Seen(tmp_path / "sync", lambda: "later")
    assert looked(again, Drift.IN_SYNC) == "5"
    assert looked(again, Drift.DIFFERS) == "later"


def test_a_silent_peer_stands_as_it_stood(tmp_path: Path) -> None:
    seen = Seen(tmp_path, ticking())
    states: list[Drift | Stand]
    states = [Drift.DIFFERS, SILENT, SILENT, Drift.DIFFERS, SILENT, Drift.IN_SYNC]
    assert [looked(seen, one) for one in states] == ["1", "2", "2", "1", "5", "6"]


def test_a_clock_that_is_set_later_dates_nothing_back(tmp_path: Path) -> None:
    clock = iter(["1970-01-01T00:01", "1970-01-01T00:02", "2026-11-23", "2026-11-24"] * 2)
    seen = Seen(tmp_path, lambda: next(clock))
    found = [looked(seen, Drift.AHEAD) for _ in range(4)]
    assert found == ["1970-01-01T00:01", "1970-01-01T00:01", "2026-11-23", "2026-11-23"]
    silent = [looked(Seen(tmp_path / "other", lambda: "1970"), SILENT)]
    other = Seen(tmp_path / "other", lambda: next(clock))
    silent += [looked(other, SILENT) for _ in range(4)]
    assert silent[1:] == ["1970-01-01T00:01", "1970-01-01T00:01", "2026-11-23", "2026-11-23"]


def test_a_section_that_is_asked_for_no_more_is_forgotten(tmp_path: Path) -> None:
    seen = Seen(tmp_path, ticking())
    looked(seen, Drift.AHEAD)
    seen.note({"fw2": {}})
    assert looked(seen, Drift.AHEAD) == "3"


@pytest.mark.parametrize("content", ["", "[]", '{"fw2": 1}', '{"fw2": {"web": ["ahead"]}}', "\0"])
def test_a_damaged_file_says_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "drift.json").write_text(content, encoding="utf-8")
    assert looked(Seen(tmp_path, lambda: "now"), Drift.AHEAD) == "now"


def test_a_file_that_cannot_be_written_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sync").write_text("in the way")
    assert looked(Seen(tmp_path / "sync", lambda: "now"), Drift.AHEAD) == "now"
    assert "drift.json" in capfd.readouterr().err
