"""A line over the last hour: places and words of a chart, of which `chart.html` makes SVG.

Room: web. Pure. A time of which nothing is known is a gap, never a line across it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from carpool.api.render import Fields, duration, entries_of, number_of
from carpool.web.lately import Seen

WIDTH, HEIGHT = 400, 150  # of the view box
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 10, 24  # margins, for the numbers
GAP = 2.5  # samples that are farther apart than so many are not joined
TICKS = 4  # of the upright axis, at most

Point = tuple[float, float | None]  # seconds ago, value


class Tick(NamedTuple):
    at: float
    word: str


class Line(NamedTuple):
    name: str
    kind: str  # the class: "first" or "second", which is dashed
    pieces: list[str]  # `points` of polylines


@dataclass(frozen=True, slots=True)
class Chart:
    key: str  # of its ids
    title: str
    words: str  # the same, for who does not see it
    lines: list[Line]
    across: list[Tick]
    up: list[Tick]


def charts_of(seen: Seen) -> list[Chart]:
    """Of the answer to GET /v1/samples; none without it, or before there is a line to draw."""
    answer = seen.answer or {}
    rows = entries_of(answer, "samples")
    span_s, every_s = number_of(answer, "span_s"), number_of(answer, "every_s")
    if len(rows) < 2 or span_s <= 0 or every_s <= 0:
        return []
    named = (
        ("entries", "Connections in the table", {"here": "entries"}),
        ("rate", "Replicated changes per second", {"out": "out_per_s", "in": "in_per_s"}),
    )
    return [
        draw(key, title, {name: _points(rows, of) for name, of in lines.items()}, span_s, every_s)
        for key, title, lines in named
    ]


def _points(rows: Sequence[Fields], key: str) -> list[Point]:
    return [
        (number_of(row, "ago_s"), None if row.get(key) is None else max(0.0, number_of(row, key)))
        for row in rows
    ]


def draw(
    key: str, title: str, lines: dict[str, list[Point]], span_s: float, every_s: float
) -> Chart:
    """Lines by name; of each, points from the oldest to the newest."""
    values = [value for points in lines.values() for _ago_s, value in points if value is not None]
    step = step_of(max(values, default=0.0))
    top = step * max(1, math.ceil(max(values, default=0.0) / step))
    count = round(top / step)
    return Chart(
        key=key,
        title=title,
        words=_words(lines),
        lines=[
            Line(name, kind, [_piece(one, span_s, top) for one in _joined(points, every_s)])
            for (name, points), kind in zip(lines.items(), ("first", "second"), strict=False)
        ],
        across=[
            Tick(_x(part * span_s, span_s), f"{part * span_s / 60:.0f} min ago" if part else "now")
            for part in (1.0, 0.5, 0.0)
        ],
        up=[Tick(_y(at * step, top), short(at * step)) for at in range(count + 1)],
    )


def step_of(most: float) -> float:
    """1, 2 or 5 times a power of ten, so that at most TICKS of them reach `most`; at least 1."""
    if most <= TICKS:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most / TICKS))
    return next(step for factor in (1, 2, 5, 10) if (step := factor * power) * TICKS >= most)


def short(value: float) -> str:
    """`950`, `1.5 k`, `2 M`."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.4g} {unit}"
    return f"{value:.4g}"


def _joined(points: Sequence[Point], every_s: float) -> list[list[tuple[float, float]]]:
    """Pieces without a gap."""
    pieces: list[list[tuple[float, float]]] = []
    last_s = math.inf
    for ago_s, value in points:
        if value is None:
            last_s = math.inf
            continue
        if last_s - ago_s > GAP * every_s:
            pieces.append([])
        pieces[-1].append((ago_s, value))
        last_s = ago_s
    return pieces


def _piece(points: Sequence[tuple[float, float]], span_s: float, top: float) -> str:
    shown = [(ago_s, value) for ago_s, value in points if 0 <= ago_s <= span_s]
    if len(shown) == 1:  # a dot: a line of one point is nothing
        shown *= 2
    return " ".join(f"{_x(ago_s, span_s):.1f},{_y(value, top):.1f}" for ago_s, value in shown)


def _x(ago_s: float, span_s: float) -> float:
    return round(WIDTH - RIGHT - ago_s / span_s * (WIDTH - LEFT - RIGHT), 1)


def _y(value: float, top: float) -> float:
    return round(HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM), 1)


def _words(lines: dict[str, list[Point]]) -> str:
    """`here: from 3 to 1.5 k, last 20, over 12 min.`"""
    parts = []
    for name, points in lines.items():
        known = [(ago_s, value) for ago_s, value in points if value is not None]
        if not known:
            parts.append(f"{name}: not known")
            continue
        values = [value for _ago_s, value in known]
        low, high, last = short(min(values)), short(max(values)), short(values[-1])
        over = duration(max(0.0, known[0][0] - known[-1][0]))
        parts.append(f"{name}: from {low} to {high}, last {last}, over {over}")
    return f"{'; '.join(parts)}."
