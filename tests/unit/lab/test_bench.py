"""Promises are held against the worst run, and what never happened is broken."""

from __future__ import annotations

from typing import Any

from carpool.lab.bench import judge


def run_of(gap_ms: float, took_over_ms: float | None = 5.0, survived: int = 200) -> dict[str, Any]:
    counts = {"opened": 200, "survived": survived}
    return {
        "gap_ms": gap_ms,
        "took_over_ms": took_over_ms,
        "connections": counts,
        "young": {"opened": 180, "survived": 180},
    }


IDLE = {"fw1": {"cpu_percent": 0.2, "pss_mb": 20.0}}


def broken(*reports: tuple[str, list[dict[str, Any]]]) -> list[str]:
    entries = [{"scenario": name, "runs": runs} for name, runs in reports]
    return [promise.what for promise in judge(entries, IDLE) if not promise.kept]


def test_all_kept() -> None:
    assert broken(("crash", [run_of(3400.0)]), ("stop", [run_of(19.9)])) == []


def test_one_bad_run_of_many_breaks_a_promise() -> None:
    runs = [run_of(2.0)] * 9 + [run_of(20.1)]
    assert broken(("switchover", runs)) == ["switchover: gap"]


def test_a_lost_connection_breaks_it_in_every_drill() -> None:
    assert broken(("link", [run_of(5.0, survived=199)])) == ["link: connections lost"]


def test_a_take_over_that_never_came_is_not_a_fast_one() -> None:
    runs = [run_of(2.0, took_over_ms=None), run_of(2.0, took_over_ms=50.0)]
    assert broken(("kill", runs)) == ["kill: taken over"]
