"""A calendar expression, as timers of systemd have them: `daily`, `Mon..Fri 02:30`, `*:0/15`.

Room: model. Reads the part of systemd.time(7) that a schedule needs; refuses to know time zones
and what the time is. Not read: zones, days from the end of a month (`~`), parts of a second.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from carpool.model.keypath import quoted

YEAR_MIN, YEAR_MAX = 1970, 2199  # as systemd: nothing comes after
EXPRESSION_MAX = 200  # characters
SHORTHANDS = {
    "minutely": "*-*-* *:*:00",
    "hourly": "*-*-* *:00:00",
    "daily": "*-*-* 00:00:00",
    "weekly": "Mon *-*-* 00:00:00",
    "monthly": "*-*-01 00:00:00",
    "quarterly": "*-01,04,07,10-01 00:00:00",
    "semiannually": "*-01,07-01 00:00:00",
    "yearly": "*-01-01 00:00:00",
    "annually": "*-01-01 00:00:00",
}
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_ITEM = re.compile(r"([0-9]{1,4})(?:\.\.([0-9]{1,4}))?(?:/([0-9]{1,4}))?", re.ASCII)
_DAY_RANGE = re.compile(r"([a-z]+)(?:(?:\.\.|-)([a-z]+))?", re.ASCII)


class Civil(NamedTuple):
    """What calendar and clock on the wall say."""

    year: int
    month: int  # 1..12
    day: int  # 1..31
    hour: int
    minute: int
    second: int


@dataclass(frozen=True, slots=True)
class Calendar:
    """All moments that have one of each; every tuple ascends and holds at least one."""

    weekdays: tuple[int, ...]  # 0 is Monday
    years: tuple[int, ...]
    months: tuple[int, ...]
    days: tuple[int, ...]
    hours: tuple[int, ...]
    minutes: tuple[int, ...]
    seconds: tuple[int, ...]


class NoCalendarError(ValueError):
    """The text is no calendar expression; its words say why, for a sentence."""


def calendar(text: str) -> Calendar:
    """What `text` means. Raises NoCalendarError."""
    if len(text) > EXPRESSION_MAX:
        raise NoCalendarError(f"it is longer than {EXPRESSION_MAX} characters")
    words = SHORTHANDS.get(text.strip().lower(), text).split()
    weekdays = words.pop(0) if words and words[0][0].isalpha() else ""
    date = words.pop(0) if words and ":" not in words[0] else "*-*-*"
    time = words.pop(0) if words else "00:00:00"
    if not text.strip():
        raise NoCalendarError("it says nothing")
    if not _is_date(date):
        raise NoCalendarError(f"{quoted(date)} is no date such as *-*-01 or 10-15")
    if time.count(":") not in (1, 2):
        raise NoCalendarError(f"{quoted(time)} is no time such as 02:30 or *:0/15")
    if words:
        raise NoCalendarError(_left(words[0]))
    years, months, days = date.split("-") if date.count("-") == 2 else ("*", *date.split("-"))
    hours, minutes, seconds = (time if time.count(":") == 2 else f"{time}:00").split(":")
    found = Calendar(
        weekdays=_weekdays(weekdays.lower()) if weekdays else tuple(range(7)),
        years=_numbers("year", years, YEAR_MIN, YEAR_MAX),
        months=_numbers("month", months, 1, 12),
        days=_numbers("day", days, 1, 31),
        hours=_numbers("hour", hours, 0, 23),
        minutes=_numbers("minute", minutes, 0, 59),
        seconds=_numbers("second", seconds, 0, 59),
    )
    if not any(day <= month_days(2000, month) for month in found.months for day in found.days):
        raise NoCalendarError("no month that it names has such a day")
    return found


def month_days(year: int, month: int) -> int:
    """How many days this month has."""
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def _is_date(text: str) -> bool:
    return text.count("-") in (1, 2) and all(text.split("-"))


def _left(word: str) -> str:
    if word[0].isalpha():
        return f"{quoted(word)} is too much: a schedule is in the time zone of the machine"
    return f"{quoted(word)} is too much"


def _weekdays(text: str) -> tuple[int, ...]:
    found: set[int] = set()
    for item in text.removesuffix(",").split(","):
        names = _DAY_RANGE.fullmatch(item)
        if names is None:
            raise NoCalendarError(f"{quoted(item)} is no day of the week: Mon, Mon,Thu, Mon..Fri")
        first = _weekday(names[1])
        last = _weekday(names[2]) if names[2] else first
        if last < first:
            raise NoCalendarError(f"{quoted(item)} runs backwards: a week begins on Monday")
        found.update(range(first, last + 1))
    return tuple(sorted(found))


def _weekday(name: str) -> int:
    for number, day in enumerate(DAYS):
        if name in (day, day[:3]):
            return number
    raise NoCalendarError(f"{quoted(name)} is no day of the week, and no word such as daily")


def _numbers(unit: str, text: str, low: int, high: int) -> tuple[int, ...]:
    """The values of one component: "*", or a list of `8`, `8..17`, `0/15`, `8..17/3`."""
    if text == "*":
        return tuple(range(low, high + 1))
    found: set[int] = set()
    for item in text.split(","):
        parts = _ITEM.fullmatch(item)
        if parts is None:
            hint = f", every fifth is {low}/5" if item.startswith("*") else ""
            raise NoCalendarError(f"{unit} {quoted(item)} is no number, range or step{hint}")
        first, end, step = (None if part is None else int(part) for part in parts.groups())
        assert first is not None
        for value in (first, first if end is None else end):
            if not low <= value <= high:
                raise NoCalendarError(f"{unit} {value} is not in {low} to {high}")
        last = end if end is not None else first if step is None else high
        if last < first:
            raise NoCalendarError(f"{unit} {item} runs backwards")
        if step == 0 or (step is not None and end is None and step > high - first):
            raise NoCalendarError(f"{unit} {item} never takes a step")
        found.update(range(first, last + 1, step or 1))
    return tuple(sorted(found))
