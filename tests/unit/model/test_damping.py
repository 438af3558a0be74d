"""What is out of its range."""

from __future__ import annotations

from carpool.model.damping import (
    HOLD_DOWN_MAX_S,
    MOVES_MAX,
    PREEMPT_DELAY_MAX_S,
    Damping,
    ranges,
)


def test_what_is_within() -> None:
    for good in (Damping(), Damping(HOLD_DOWN_MAX_S, PREEMPT_DELAY_MAX_S, MOVES_MAX)):
        assert list(ranges(good)) == []


def test_a_single_move_an_hour_could_not_be_undone() -> None:
    for bad in (-1, 1, MOVES_MAX + 1):
        ((key, found, _),) = ranges(Damping(moves_per_hour=bad))
        assert (key, found) == ("moves_per_hour", str(bad))


def test_times_that_are_too_long() -> None:
    bad = Damping(HOLD_DOWN_MAX_S + 1, PREEMPT_DELAY_MAX_S + 1)
    assert [key for key, _, _ in ranges(bad)] == ["hold_down", "preempt_delay"]
