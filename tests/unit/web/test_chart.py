"""Charts: axes with numbers that can be read, and gaps where nothing is known."""

from __future__ import annotations

import pytest

from carpool.web.chart import HEIGHT, LEFT, TICKS, WIDTH, Point, charts_of, draw, short, step_of
from carpool.web.lately import Seen


def drawn(points: list[Point]) -> list[str]:
    return draw("key", "Entries", {"here": points}, 100.0, 10.0).lines[0].pieces


@pytest.mark.parametrize(
    ("most", "step"),
    [(0, 1), (3, 1), (4, 1), (5, 2), (9, 5), (40, 10), (41, 20), (1204, 500), (262144, 100000)],
)
def test_steps_are_round(most: float, step: float) -> None:
    assert step_of(most) == step
    assert step_of(most) * TICKS >= most


def test_numbers_are_short() -> None:
    assert [short(one) for one in (0, 12.5, 950, 1500, 2e6, 3e9)] == [
        *("0", "12.5", "950", "1.5 k", "2 M", "3 G")
    ]


def test_the_newest_is_at_the_right_and_the_largest_at_the_top() -> None:
    (piece,) = drawn([(20, 0.0), (10, 2.0), (0, 4.0)])
    first, _middle, last = ([float(one) for one in pair.split(",")] for pair in piece.split())
    assert first[0] < last[0] <= WIDTH
    assert last[1] < first[1] < HEIGHT
    assert first[0] > LEFT


def test_what_is_not_known_is_a_gap() -> None:
    assert len(drawn([(40, 1.0), (30, None), (20, 1.0), (10, 1.0)])) == 2
    assert len(drawn([(90, 1.0), (20, 1.0), (10, 1.0)])) == 2  # the agent was not there
    assert drawn([(40, None)]) == []


def test_the_axes_have_numbers() -> None:
    chart = draw("key", "Entries", {"here": [(10, 0.0), (0, 1204.0)]}, 3600.0, 10.0)
    assert [tick.word for tick in chart.up] == ["0", "500", "1 k", "1.5 k"]
    assert [tick.word for tick in chart.across] == ["60 min ago", "30 min ago", "now"]
    assert chart.words == "here: from 0 to 1.204 k, last 1.204 k, over 10 s."


def test_the_charts_of_an_answer() -> None:
    rows = [
        {"ago_s": 10.0, "entries": 3, "out_per_s": 1.5, "in_per_s": 0.0},
        {"ago_s": 0.0, "entries": None, "out_per_s": None, "in_per_s": None},
    ]
    found = charts_of(Seen({"every_s": 10.0, "span_s": 3600.0, "samples": rows}, None, 0))
    assert [chart.key for chart in found] == ["entries", "rate"]
    assert [line.name for line in found[1].lines] == ["out", "in"]


@pytest.mark.parametrize(
    "value", [None, 3, "x", [], {}, [{}, {}], [{"ago_s": -1, "entries": 1e300}] * 2]
)
def test_any_answer_is_drawn_somehow(value: object) -> None:
    for span_s in (3600.0, 0, None, "x"):
        charts_of(Seen({"every_s": 10.0, "span_s": span_s, "samples": value}, None, 0))
    assert charts_of(Seen(None, None, 0)) == []
