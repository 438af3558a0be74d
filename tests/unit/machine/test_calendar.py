"""When a calendar expression comes next, held against `systemd-analyze calendar` itself."""

from __future__ import annotations

import os
import subprocess
import time
from calendar import timegm, weekday
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.kernel import zone
from carpool.machine import calendar as machine
from carpool.machine.calendar import following, next_run
from carpool.model.calendar import Civil, NoCalendarError, calendar

# Rules of POSIX in place of names: they need no package of zones.
BERLIN = "CET-1CEST,M3.5.0,M10.5.0/3"
SYDNEY = "AEST-10AEDT,M10.1.0,M4.1.0/3"
SPRING, AUTUMN = (2026, 3, 29), (2026, 10, 25)  # of Berlin: at 02:00 it is 03:00, at 03:00 02:00


@contextmanager
def in_zone(name: str) -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = name
    try:
        yield
    finally:
        del os.environ["TZ"]
        if before is not None:
            os.environ["TZ"] = before
        time.tzset()


def ours(expression: str, base_s: int, count: int) -> list[int]:
    found: list[int] = []
    when: int | None = base_s
    for _ in range(count):
        assert when is not None
        when = next_run(calendar(expression), when, zone)
        if when is None:
            break
        found.append(when)
    return found


def theirs(expression: str, base_s: int, count: int, name: str) -> list[int]:
    options = (f"--base-time=@{base_s}", f"--iterations={count}")
    asked = subprocess.run(
        ["systemd-analyze", "calendar", *options, "--", expression],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TZ": name, "LC_ALL": "C"},
    ).stdout
    lines = (line.strip().partition("(in UTC): ")[2] for line in asked.splitlines())
    return [timegm(time.strptime(line, "%a %Y-%m-%d %H:%M:%S UTC")) for line in lines if line]


def local(*civil: int) -> int:
    found = zone.wall_s(Civil(*civil, *(0,) * (6 - len(civil))))
    assert found is not None
    return found


@pytest.mark.parametrize(
    "expression",
    [
        *("minutely", "hourly", "daily", "weekly", "monthly", "quarterly", "semiannually"),
        *("yearly", "annually", "Mon..Fri 02:30", "02:30", "02:00", "03:00", "2,3:30", "*:0/15"),
        *("*:*:0/20", "*-*-* 03:00:00", "Sat,Mon..Wed 23:59:59", "2,6,10:30", "*-*-29,31 12:00"),
        *("Sun *-*-1..7 04:00", "*-2-29", "Fri *-*-13", "2027-6-1", "2027..2031/2-1,7-1/15 8..9:5"),
        *("*-1/5-1/9 1,2,3:0/29:5..50/15", "Thu", "2020-01-01 10:00"),
    ],
)
def test_as_systemd_has_it(expression: str) -> None:
    for name in (BERLIN, SYDNEY):
        with in_zone(name):
            bases = [local(2026, 3, 28, 21, 10), local(2026, 10, 24, 22, 59, 59)]
            bases += [local(2026, 4, 4, 12), local(2026, 10, 3, 12), local(2028, 2, 28, 23, 59, 58)]
            for base_s in bases:
                found = ours(expression, base_s, 12)
                assert found == theirs(expression, base_s, 12, name), (name, base_s)


@pytest.mark.parametrize("expression", ["25:00", "nightly", "Fri..Mon", "*:*/5", "*:0/60", "", "@"])
def test_what_systemd_refuses_is_refused(expression: str) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        theirs(expression, 0, 1, "UTC")
    with pytest.raises(NoCalendarError):
        calendar(expression)


def test_what_spring_leaps_over_does_not_come() -> None:
    with in_zone(BERLIN):
        base_s = local(2026, 3, 28, 12)
        assert ours("02:30", base_s, 2) == [local(2026, 3, 30, 2, 30), local(2026, 3, 31, 2, 30)]
        assert ours("hourly", local(*SPRING, 0), 3) == [local(*SPRING, hour) for hour in (1, 3, 4)]


def test_a_step_goes_on_behind_what_spring_leaps_over() -> None:
    """Here systemd 252 gives up: "Infinite loop in calendar calculation"."""
    with in_zone(BERLIN):
        found = ours("2/4:30", local(2026, 3, 28, 22, 50), 2)
        assert found == [local(*SPRING, 6, 30), local(*SPRING, 10, 30)]


def test_what_autumn_says_twice_comes_once() -> None:
    with in_zone(BERLIN):
        first = local(*AUTUMN, 2, 30)
        assert ours("02:30", local(*AUTUMN), 2) == [first, local(2026, 10, 26, 2, 30)]
        # In the second 02:10, the first 02:30 has been already.
        assert ours("02:30", local(*AUTUMN, 2, 10) + 3600, 1) == [local(2026, 10, 26, 2, 30)]
        assert ours("*:*:*", local(*AUTUMN, 2, 10) + 3600, 1) == [local(*AUTUMN, 3)]


def test_it_comes_after_and_never_at() -> None:
    with in_zone("UTC0"):
        noon = local(2026, 1, 1, 12)
        assert next_run(calendar("12:00"), noon - 0.25, zone) == noon
        assert next_run(calendar("12:00"), noon, zone) == noon + 86400
        assert next_run(calendar("12:00"), noon + 0.25, zone) == noon + 86400
        assert next_run(calendar("2026-01-01 12:00"), noon, zone) is None


CIVIL = st.builds(
    Civil,
    st.integers(1970, 2199),
    st.integers(1, 12),
    st.integers(1, 28),
    st.integers(0, 23),
    st.integers(0, 59),
    st.integers(0, 59),
)


@given(CIVIL, st.sampled_from(["*:0/7:3", "Mon *-2-*", "2,20:*:*", "*-*-31", "Wed 1..6/2-5 5:5"]))
def test_what_follows_fits(after: Civil, expression: str) -> None:
    wanted = calendar(expression)
    found = following(wanted, after)
    if found is None:
        assert after.year >= 2190
        return
    assert found > after
    for name in Civil._fields:
        assert getattr(found, name) in getattr(wanted, f"{name}s")
    assert weekday(*found[:3]) in wanted.weekdays


@given(st.dates())
def test_days_of_the_week(date: object) -> None:
    year, month, day = map(int, str(date).split("-"))
    assert machine.weekday(year, month, day) == weekday(year, month, day)


def test_every_minute_of_a_day_comes_in_order() -> None:
    with in_zone("UTC0"):
        found = ours("minutely", local(2028, 2, 28, 12), 1440)
    assert {after - before for before, after in pairwise(found)} == {60}
