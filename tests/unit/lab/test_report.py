"""The tables of drills: medians, survivors, and red where something died."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from carpool.lab.drill import passed, sentences
from carpool.lab.report import drills_table, spread


def run_of(survived: int = 200, took_over_ms: float | None = 3391.2) -> dict[str, Any]:
    return {
        "gap_ms": 3398.04,
        "probes_lost": 3397,
        "took_over_ms": took_over_ms,
        "connections": {"opened": 200, "survived": survived},
        "young": {"opened": 180, "survived": 180},
    }


def test_spread_shows_median_least_and_most() -> None:
    assert spread([3.0, 1.0, 2.0]) == "2.0 (1.0-3.0)"
    assert spread([3.0]) == "3.0"
    assert spread([3398.04, 99.96]) == "1749 (100.0-3398)"
    assert spread([]) == "-"


def test_a_run_passes_only_when_all_lived_and_somebody_took_over() -> None:
    assert passed(run_of())
    assert not passed(run_of(survived=199))
    assert not passed(run_of(took_over_ms=None))
    assert not passed({**run_of(), "young": {"opened": 0, "survived": 0}})  # measured nothing


def test_a_run_in_two_sentences() -> None:
    assert sentences(run_of()) == (
        "taken over after 3391 ms; gap 3398.0 ms, 3397 probes lost",
        "200 of 200 connections live, young ones 180 of 180",
    )
    assert sentences(run_of(took_over_ms=None))[0].startswith("NOBODY took over")


def test_the_table_counts_over_all_runs() -> None:
    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(drills_table([{"scenario": "crash", "runs": [run_of(), run_of(survived=150)]}]))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "1/2" in text
    assert "350/400" in text
    assert "all 360" in text


def test_the_table_fits_80_columns() -> None:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    runs = [run_of(), run_of(), {**run_of(), "gap_ms": 2574.66, "took_over_ms": 2579.2}] * 4
    console.print(drills_table([{"scenario": "switchover", "runs": runs}]))
    assert isinstance(console.file, io.StringIO)
    assert "…" not in console.file.getvalue()
    assert "3398 (2575-3398)" in console.file.getvalue()


def test_nobody_took_over_shows_a_dash_and_no_crash() -> None:
    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(drills_table([{"scenario": "crash", "runs": [run_of(took_over_ms=None)]}]))
    assert isinstance(console.file, io.StringIO)
    assert "0/1" in console.file.getvalue()
