"""When a check counts as failing, and when that is told."""

from __future__ import annotations

import pytest

from carpool.machine.checks import LAG_S, LEASE_S, TELL_EVERY_S, Tally, next_run_s


def after(*results: bool, rise: int = 2, fall: int = 3) -> Tally:
    tally = Tally()
    for at_s, ok in enumerate(results):
        tally.add(ok, rise, fall, float(at_s))
    return tally


def test_the_first_result_decides_at_once() -> None:
    assert Tally().failing is None
    assert after(True).failing is False
    assert after(False).failing is True


@pytest.mark.parametrize(
    ("results", "failing", "since_s"),
    [
        ((True, False, False), False, 0.0),
        ((True, False, False, False), True, 3.0),
        ((True, False, False, True, False, False), False, 0.0),  # none in a row
        ((False, True), True, 0.0),
        ((False, True, False, True), True, 0.0),
        ((False, True, True), False, 2.0),
    ],
)
def test_rise_and_fall(results: tuple[bool, ...], failing: bool, since_s: float) -> None:
    tally = after(*results)
    assert (tally.failing, tally.since_s) == (failing, since_s)


def test_what_is_news() -> None:
    tally = Tally()
    assert not tally.add(True, 1, 1, 0.0), "well from the beginning is none"
    assert tally.add(False, 1, 1, 1.0)
    assert not tally.add(False, 1, 1, 2.0)
    assert tally.add(True, 1, 1, 3.0)
    assert Tally().add(False, 1, 1, 0.0)


def test_a_master_gets_worse_later_and_a_backup_better() -> None:
    """What fails and mends on all nodes alike never makes one of them the better one."""
    worse = after(True, False, fall=1)
    assert worse.tell(is_master=False, now_s=1.0)
    worse.told = False
    assert not worse.tell(is_master=True, now_s=1.0)
    assert worse.deadline_s(is_master=True) == 1.0 + LAG_S
    assert worse.tell(is_master=True, now_s=1.0 + LAG_S)
    assert worse.deadline_s(is_master=True) is None
    worse.add(True, 1, 1, 5.0)
    assert worse.tell(is_master=False, now_s=5.0)
    assert worse.deadline_s(is_master=False) == 5.0 + LAG_S
    assert not worse.tell(is_master=True, now_s=5.0)


def test_what_an_agent_before_told_fails_until_it_is_well() -> None:
    tally = Tally.adopted(10.0)
    assert tally.tell(is_master=False, now_s=10.0)
    tally.add(True, 2, 2, 11.0)
    assert tally.failing
    tally.add(True, 2, 2, 12.0)
    assert not tally.failing


def test_moments_are_those_of_the_wall_clock() -> None:
    assert next_run_s(100.0, 1_700_000_003.0, 10.0) == 107.0
    assert next_run_s(100.0, 1_700_000_000.0, 10.0) == 110.0
    assert next_run_s(100.0, 1_700_000_009.5, 10.0) == 110.5, "woken early for the one at 0"


def test_a_lease_outlives_some_that_are_lost() -> None:
    assert LEASE_S >= 3 * TELL_EVERY_S
