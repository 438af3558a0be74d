"""Trace: what became of the probes, from the times of sending and answering alone."""

from __future__ import annotations

import pytest

from carpool.lab.probe import Trace


def steady(seconds: float, start_s: float = 100.0, every_s: float = 0.001) -> Trace:
    """A trace of probes that are all answered after 0.2 ms."""
    trace = Trace()
    for number in range(round(seconds / every_s)):
        at_s = start_s + number * every_s
        trace.answer(trace.send(at_s), at_s + 0.0002)
    return trace


def lose(trace: Trace, from_s: float, until_s: float) -> None:
    for sequence, at_s in enumerate(trace.sent_s):
        if from_s <= at_s < until_s:
            trace.answered_s[sequence] = 0.0


def test_without_an_outage_the_gap_is_the_interval() -> None:
    found = steady(2.0).outage(since_s=100.0, fault_s=101.0, end_s=102.0)
    assert found["gap_ms"] == pytest.approx(1.0, abs=0.01)
    assert found["idle_gap_ms"] == pytest.approx(1.0, abs=0.01)
    assert (found["probes_sent"], found["probes_lost"], found["lost_before"]) == (2000, 0, 0)


def test_an_outage_is_measured_between_the_answers_around_it() -> None:
    trace = steady(2.0)
    lose(trace, 101.0, 101.25)
    found = trace.outage(since_s=100.0, fault_s=101.0, end_s=102.0)
    assert found["gap_ms"] == pytest.approx(251.0, abs=0.01)
    assert found["gap_start_s"] == pytest.approx(100.9992)
    assert (found["probes_lost"], found["lost_before"]) == (250, 0)


def test_all_silences_are_listed_with_their_beginning() -> None:
    trace = steady(2.0)
    lose(trace, 101.1, 101.2)
    lose(trace, 101.5, 101.55)
    found = trace.outage(since_s=100.0, fault_s=101.0, end_s=102.0)
    assert found["silences_ms"] == [
        (pytest.approx(99.2), pytest.approx(101.0)),
        (pytest.approx(499.2), pytest.approx(51.0)),
    ]


def test_what_was_lost_before_the_fault_is_told_apart() -> None:
    trace = steady(2.0)
    lose(trace, 100.2, 100.3)
    lose(trace, 101.0, 101.05)
    found = trace.outage(since_s=100.0, fault_s=101.0, end_s=102.0)
    assert found["gap_ms"] == pytest.approx(51.0, abs=0.01)
    assert found["idle_gap_ms"] == pytest.approx(101.0, abs=0.01)
    assert (found["probes_lost"], found["lost_before"]) == (50, 100)


def test_late_answers_make_a_gap_but_no_loss() -> None:
    trace = steady(2.0)
    for sequence, at_s in enumerate(trace.sent_s):
        if 101.0 <= at_s < 101.2:
            trace.answered_s[sequence] = 101.2  # queued at the neighbour, then delivered at once
    found = trace.outage(since_s=100.0, fault_s=101.0, end_s=102.0)
    assert found["gap_ms"] == pytest.approx(200.8, abs=0.01)
    assert found["probes_lost"] == 0


def test_an_outage_that_does_not_end_lasts_until_the_end() -> None:
    trace = steady(2.0)
    lose(trace, 101.5, 103.0)
    found = trace.outage(since_s=100.0, fault_s=101.5, end_s=102.0)
    assert found["gap_ms"] == pytest.approx(500.8, abs=0.01)
    assert found["probes_lost"] == 500


def test_without_any_answer_all_of_it_is_a_gap() -> None:
    trace = Trace()
    trace.send(100.0)
    found = trace.outage(since_s=100.0, fault_s=100.0, end_s=103.0)
    assert (found["gap_ms"], found["probes_lost"]) == (3000.0, 1)


def test_duplicates_and_strangers_do_not_count_as_answers() -> None:
    trace = Trace()
    trace.answer(trace.send(100.0), 100.0002)
    trace.answer(0, 100.5)
    trace.answer(7, 100.6)
    assert (trace.duplicates, list(trace.answered_s)) == (1, [100.0002])
