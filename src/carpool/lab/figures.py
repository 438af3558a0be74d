"""Figures and what is asked of them: medians, ratios, targets, and the forms to tell them in.

Room: lab. Pure: values in, values out. Refuses to know how anything was measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import median

from rich.box import SIMPLE_HEAD
from rich.table import Table

from carpool.lab.channel import Report
from carpool.lab.report import BAD, GOOD

Samples = Mapping[tuple[str, str], Sequence[float]]  # by row's key and contender: one a run


class Better(Enum):
    LESS = "at most"
    MORE = "at least"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table, and what is asked of it.

    `limit` holds for carpool's median; with `of_peer` for its ratio to the best peer's median.
    None: it is told, and nothing is asked of it.
    """

    key: str  # its samples
    measure: str
    unit: str
    better: Better
    limit: float | None
    of_peer: bool = False
    peers: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        if self.limit is None:
            return "-"
        if self.of_peer:
            return f"{self.better.value} {self.limit:.2f} of the peer"
        return f"{self.better.value} {self.limit:g} {self.unit}".rstrip()


def judge(row: Row, samples: Samples) -> Report:
    """The line as JSON has it. Peers without samples do not count; carpool must have some."""
    ours = samples.get((row.key, "carpool"), ())
    found = {"measure": row.measure, "unit": row.unit, "target": row.target}
    name, theirs = _best(row, samples)
    carpool, peer = _median(ours), _median(theirs)
    ratio = None if carpool is None or not peer else carpool / peer
    held = ratio if row.of_peer else carpool
    return {
        **found,
        "carpool": _shown(carpool),
        "carpool_min": _shown(min(ours, default=None)),
        "carpool_max": _shown(max(ours, default=None)),
        "peer": _shown(peer),
        "peer_min": _shown(min(theirs, default=None)),
        "peer_max": _shown(max(theirs, default=None)),
        "peer_name": name,
        "ratio": _shown(ratio),
        "runs": len(ours),
        "met": row.limit is None or (held is not None and _holds(row.better, held, row.limit)),
    }


def _best(row: Row, samples: Samples) -> tuple[str | None, Sequence[float]]:
    """The peer with the best median."""
    there = [(name, samples[row.key, name]) for name in row.peers if samples.get((row.key, name))]
    if not there:
        return None, ()
    pick = min if row.better is Better.LESS else max
    return pick(there, key=lambda entry: median(entry[1]))


def _holds(better: Better, value: float, limit: float) -> bool:
    return value <= limit if better is Better.LESS else value >= limit


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def _shown(value: float | None) -> float | None:
    """Four digits: more would be noise."""
    return None if value is None else float(f"{value:.4g}")


HEADINGS = ("measure", "unit", "carpool (least-most)", "peer (least-most)", "ratio", "target", "")


def cells(entry: Report) -> tuple[str, ...]:
    """The texts of one line; a dash where nothing was measured."""
    peer = f"{_spread(entry, 'peer')} {entry['peer_name'] or ''}".strip()
    ratio = "-" if entry["ratio"] is None else f"{entry['ratio']:.2f}"
    verdict = "met" if entry["met"] else "MISSED"
    verdict = "" if entry["target"] == "-" else verdict
    ours = _spread(entry, "carpool")
    return entry["measure"], entry["unit"], ours, peer, ratio, entry["target"], verdict


def _spread(entry: Report, who: str) -> str:
    middle, least, most = (entry[f"{who}{end}"] for end in ("", "_min", "_max"))
    if middle is None:
        return "-"
    alone = least == middle == most
    return _number(middle) if alone else f"{_number(middle)} ({_number(least)}-{_number(most)})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def table(entries: Sequence[Report], title: str) -> Table:
    """For a terminal."""
    shown = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in HEADINGS:
        shown.add_column(heading)
    for entry in entries:
        *texts, verdict = cells(entry)
        shown.add_row(*texts, f"[{GOOD if entry['met'] else BAD}]{verdict}[/]")
    return shown


def markdown(entries: Sequence[Report]) -> str:
    """For docs/benchmarks.md."""
    rows = [HEADINGS, ("---",) * len(HEADINGS), *(cells(entry) for entry in entries)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
