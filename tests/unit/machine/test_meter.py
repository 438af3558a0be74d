"""Rates and lags, in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.machine import meter


def test_a_rate_is_that_of_the_last_ten_seconds() -> None:
    rate = meter.Rate()
    assert rate.per_s(0, 100.0) == 0
    rate.see(0, 100.0)
    assert rate.per_s(50, 100.0) == 0  # no time has passed
    assert rate.per_s(50, 100.5) == 100
    total = 0
    for second in range(1, 31):
        total += 100 if second <= 20 else 0
        rate.see(total, 100.0 + second)
    assert rate.per_s(total, 130.0) == 0
    assert rate.per_s(total + 200, 130.0) == 20


def test_a_rate_holds_no_more_than_its_window() -> None:
    rate = meter.Rate()
    for step in range(10_000):
        rate.see(step, step / 100)
    assert len(rate._samples) <= 12
    assert rate.per_s(10_000, 100.0) == pytest.approx(100, rel=0.01)
    rate.see(10_000, 1000.0)
    assert rate.per_s(10_000, 1000.0) < 0.2  # nobody looked for 900 s: spread over them


def test_no_samples_no_lag() -> None:
    assert meter.Lag(0.0).status(1.0) == {"p50_ms": None, "p99_ms": None, "samples": 0}


@given(st.lists(st.floats(1e-6, 100.0), min_size=1, max_size=300))
def test_quantiles_are_right_to_ten_percent(lags: list[float]) -> None:
    lag = meter.Lag(0.0)
    for one in lags:
        lag.add(one, 1.0)
    status = lag.status(1.0)
    assert status["samples"] == len(lags)
    ordered = sorted(lags)
    for share, name in ((50, "p50_ms"), (99, "p99_ms")):
        true_ms = max(ordered[-(-share * len(lags) // 100) - 1], meter.LAG_MIN_S) * 1000
        assert status[name] == pytest.approx(true_ms, rel=0.1)


def test_lags_of_long_ago_and_absurd_ones() -> None:
    lag = meter.Lag(0.0)
    lag.add(0.5, 1.0)
    lag.add(-1.0, 50.0)
    lag.add(1e9, 50.0)
    assert lag.status(59.0)["samples"] == 3
    lag.add(0.001, 61.0)
    assert lag.status(61.0)["samples"] == 4  # the window before counts
    assert lag.status(122.0)["samples"] == 1
    assert lag.status(400.0) == {"p50_ms": None, "p99_ms": None, "samples": 0}


def test_one_question_at_a_time() -> None:
    questions = meter.Questions()
    first = questions.ask(read_s=10.0, now_s=10.001)
    assert first is not None
    assert questions.ask(10.2, 10.2) is None  # not answered
    assert questions.answered(b"another", 10.3) is None
    assert questions.answered(first, 10.3) == pytest.approx(0.3)
    assert questions.answered(first, 10.3) is None  # once
    second = questions.ask(10.4, 10.4)
    assert second is not None and second != first
    assert questions.answered(second, 10.41) == pytest.approx(0.01)
    assert questions.ask(10.42, 10.42) is None  # too soon
    assert questions.ask(10.5, 10.5) is not None


def test_a_question_whose_answer_is_lost() -> None:
    questions = meter.Questions()
    lost = questions.ask(0.0, 0.0)
    assert lost is not None
    assert questions.ask(10.0, 10.0) is None
    again = questions.ask(10.2, 10.2)
    assert again is not None
    assert questions.answered(lost, 10.3) is None
    questions.forget()
    assert questions.answered(again, 10.4) is None
    assert questions.ask(11.0, 11.0) is not None


def test_a_bulk_is_followed_and_remembered() -> None:
    bulk = meter.Bulk()
    assert (bulk.done(7), bulk.total, bulk.last(0.0)) == (None, None, None)
    bulk.begin(100, 1000, 10.0)
    assert (bulk.done(350), bulk.total) == (250, 1000)
    bulk.end(1100, 12.5)
    assert (bulk.done(1100), bulk.total) == (None, None)
    assert bulk.last(20.0) == {"entries": 1000, "duration_s": 2.5, "ago_s": 7.5}
    bulk.begin(1100, 5, 30.0)
    bulk.forget()  # half of one is none
    bulk.end(1103, 31.0)
    assert bulk.last(32.0) == {"entries": 1000, "duration_s": 2.5, "ago_s": 19.5}
