"""The table of carpool beside keepalived: medians, the worst, and what is asked."""

from __future__ import annotations

from typing import Any

import pytest

from carpool.lab.beside import cells, entries, markdown, target_of


def run_of(gap_ms: float, lost: int = 0, survived: int = 200) -> dict[str, Any]:
    counts = {"opened": 200, "survived": survived}
    figures = {"gap_ms": gap_ms, "probes_lost": lost, "took_over_ms": 2.0}
    return {**figures, "connections": counts, "young": {"opened": 180, "survived": 180}}


def entry(fault: str, ours: list[dict[str, Any]], detect_ms: int = 0) -> dict[str, Any]:
    theirs = [run_of(20.0), run_of(30.0, 4), run_of(40.0)]
    (made,) = entries({fault: {"carpool": ours, "keepalived": theirs}}, detect_ms)
    return made


def test_median_worst_lost_and_ratio() -> None:
    made = entry("stop", [run_of(2.0), run_of(2.4), run_of(9.9)])
    assert cells(made)[:4] == ("stop", "2.4 / 9.9, 0 lost", "30.0 / 40.0, 4 lost", "0.08")
    assert made["met"]  # the worst is told, and not asked for
    assert "| stop | 2.4 / 9.9, 0 lost |" in markdown([made])


@pytest.mark.parametrize(
    ("fault", "ours", "detect_ms"),
    [
        ("stop", [run_of(3.1)], 0),
        ("return", [run_of(2.0), run_of(2.0, lost=1)], 0),
        ("switchover", [run_of(2.0, survived=199)], 0),
        ("crash", [run_of(171.0)], 50),
        ("crash", [run_of(30.0), run_of(30.0), run_of(60.1)], 10),
    ],
)
def test_what_is_missed(fault: str, ours: list[dict[str, Any]], detect_ms: int) -> None:
    assert not entry(fault, ours, detect_ms)["met"]


def test_a_crash_may_lose_what_was_sent_before_it_was_detected() -> None:
    assert entry("crash", [run_of(160.0, lost=150)], 50)["met"]
    assert target_of("crash", 10).text == "40 / 60"
    assert target_of("stop", 10).text == "3, 0 lost"
