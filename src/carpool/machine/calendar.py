"""When a calendar expression comes next, on the clock on the wall of a time zone.

Room: machine. Pure: the zone is handed in, and so is the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from carpool.model.calendar import Calendar, Civil, month_days

_CUMULATED = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)  # days before each month


class Zone(Protocol):
    """A time zone; seconds are those since 1970."""

    def civil(self, wall_s: float) -> Civil:
        """What the clock on the wall says then."""

    def wall_s(self, civil: Civil) -> int | None:
        """When it says this: the first time if it does so twice; None if it never does."""


def next_run(calendar: Calendar, after_s: float, zone: Zone) -> int | None:
    """The first moment after `after_s` (seconds since 1970); None: it never comes again.

    As timers of systemd: where the clock is put forward, what it leaps over does not come; where it
    is put back, what it says twice comes the first time only.
    """
    at = zone.civil(after_s)
    while (found := following(calendar, at)) is not None:
        wall_s = zone.wall_s(found)
        if wall_s is not None and wall_s > after_s:
            return wall_s
        at = found
    return None


def following(calendar: Calendar, after: Civil) -> Civil | None:
    """The first that fits after `after`, as if every clock ran evenly."""
    for date in _dates(calendar, after[:3]):
        time = _time(calendar, after[3:] if date == after[:3] else (-1, 0, 0))
        if time is not None:
            return Civil(*date, *time)
    return None


def weekday(year: int, month: int, day: int) -> int:
    """0 is Monday; of the Gregorian calendar."""
    before = year - 1
    days = before * 365 + before // 4 - before // 100 + before // 400 + _CUMULATED[month - 1] + day
    return (days - 1 + (month > 2 and month_days(year, 2) == 29)) % 7


def _dates(calendar: Calendar, first: tuple[int, int, int]) -> Iterator[tuple[int, int, int]]:
    """All that fit, from `first` on."""
    for year in calendar.years:
        for month in calendar.months:
            if (year, month) < first[:2]:
                continue
            for day in calendar.days:
                date = (year, month, day)
                if first <= date and day <= month_days(year, month):
                    if weekday(*date) in calendar.weekdays:
                        yield date


def _time(calendar: Calendar, after: tuple[int, int, int]) -> tuple[int, int, int] | None:
    """The first of a day that fits after this one."""
    hour, minute, second = after
    first_minute, first_second = calendar.minutes[0], calendar.seconds[0]
    for each in calendar.hours:
        if each > hour:
            return each, first_minute, first_second
        if each < hour:
            continue
        for later in calendar.minutes:
            if later > minute:
                return hour, later, first_second
            if later == minute:
                rest = (one for one in calendar.seconds if one > second)
                if (found := next(rest, None)) is not None:
                    return hour, minute, found
    return None
