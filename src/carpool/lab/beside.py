"""Faults of carpool and of keepalived in one topology, and what is asked of the first.

Room: lab. Pure, but for `measure`. A gap of carpool's is of its drill, connections and all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from carpool.lab import drill
from carpool.lab.channel import Report
from carpool.lab.faults import SCENARIOS
from carpool.lab.keepalived import Keepalived
from carpool.lab.lab import Lab
from carpool.lab.report import BAD, GOOD

FAULTS = ("crash", "switchover", "stop", "return")
FAST_MS = 20  # detection below that is held against the promises for 10 ms
HEADINGS = ("gap, ms: median / worst", "carpool", "keepalived", "ratio", "target", "")


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked of carpool; None: nothing."""

    median_ms: float
    worst_ms: float | None = None
    lost: int | None = None

    @property
    def text(self) -> str:
        worst = "" if self.worst_ms is None else f" / {self.worst_ms:g}"
        parts = [f"{self.median_ms:g}{worst}"]
        parts += [f"{self.lost} lost"] if self.lost is not None else []
        return ", ".join(parts)


PLANNED = Target(3.0, lost=0)


def target_of(fault: str, detect_ms: int) -> Target:
    if fault != "crash":
        return PLANNED
    return Target(40.0, 60.0) if 0 < detect_ms <= FAST_MS else Target(170.0)


def measure(
    lab: Lab, peer: Keepalived, faults: Sequence[str], runs: int, connections: int
) -> dict[str, dict[str, list[Report]]]:
    """By fault and contender. First the one, then the other: idle, each would disturb."""
    found: dict[str, dict[str, list[Report]]] = {}
    for fault in faults:
        ours = drill.run_drill(lab, SCENARIOS[fault], connections, runs)["runs"]
        theirs = []
        for number in range(1, runs + 1):
            result = peer.run(fault, connections)
            lab.say(
                f"keepalived {fault} {number}/{runs}: gap {result['gap_ms']:.1f} ms, "
                f"{result['probes_lost']} probes lost"
            )
            theirs.append(result)
        found[fault] = {"carpool": ours, "keepalived": theirs}
    return found


def entries(
    found: Mapping[str, Mapping[str, Sequence[Report]]], detect_ms: int
) -> list[dict[str, Any]]:
    """One line for each fault."""
    return [_entry(fault, one, target_of(fault, detect_ms)) for fault, one in found.items()]


def _entry(fault: str, one: Mapping[str, Sequence[Report]], target: Target) -> dict[str, Any]:
    entry: dict[str, Any] = {"fault": fault, "target": target.text}
    for who, runs in one.items():
        gaps = [run["gap_ms"] for run in runs]
        entry[who] = {
            "runs": len(runs),
            "median_ms": round(median(gaps), 2),
            "worst_ms": round(max(gaps), 2),
            "lost_most": max(run["probes_lost"] for run in runs),
        }
    ours, theirs = entry["carpool"], entry["keepalived"]
    entry["ratio"] = round(ours["median_ms"] / theirs["median_ms"], 3)
    entry["met"] = (
        all(drill.passed(run) for run in one["carpool"])
        and ours["median_ms"] <= target.median_ms
        and (target.worst_ms is None or ours["worst_ms"] <= target.worst_ms)
        and (target.lost is None or ours["lost_most"] <= target.lost)
    )
    return entry


def cells(entry: Mapping[str, Any]) -> tuple[str, ...]:
    figures = [_figures(entry[who]) for who in ("carpool", "keepalived")]
    verdict = "met" if entry["met"] else "MISSED"
    return entry["fault"], *figures, f"{entry['ratio']:.2f}", entry["target"], verdict


def _figures(one: Mapping[str, Any]) -> str:
    middle, worst = (_short(one[key]) for key in ("median_ms", "worst_ms"))
    return f"{middle} / {worst}, {one['lost_most']} lost"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def table(lines: Sequence[Mapping[str, Any]], title: str) -> Table:
    """For a terminal."""
    shown = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )
    for heading in HEADINGS:
        shown.add_column(heading)
    for entry in lines:
        *texts, verdict = cells(entry)
        shown.add_row(*texts, f"[{GOOD if entry['met'] else BAD}]{verdict}[/]")
    return shown


def markdown(lines: Sequence[Mapping[str, Any]]) -> str:
    """For docs/benchmarks.md."""
    rows = [HEADINGS, ("---",) * len(HEADINGS), *(cells(entry) for entry in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
