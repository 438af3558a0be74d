"""What a calendar expression means, and why a text is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.model.calendar import SHORTHANDS, Calendar, NoCalendarError, calendar, month_days

EVERY = calendar("*-*-* *:*:*")


def test_everything() -> None:
    assert EVERY.weekdays == tuple(range(7)) and EVERY.seconds == tuple(range(60))
    assert (EVERY.months[0], EVERY.months[-1], EVERY.days[-1], EVERY.hours[-1]) == (1, 12, 31, 23)
    assert (EVERY.years[0], EVERY.years[-1]) == (1970, 2199)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("02:30", "*-*-* 02:30:00"),
        ("2:30:15", "*-*-* 02:30:15"),
        ("Mon", "Mon *-*-* 00:00:00"),
        ("mon, 1-15", "MONDAY *-01-15 00:00:00"),
        ("10-15", "*-10-15 00:00:00"),
        ("Mon..Fri 02:30", "Mon,Tue,Wed,Thu,Fri *-*-* 02:30:00"),
        ("Mon-Fri", "Monday..Friday"),
        ("Sat,Mon..Wed", "Mon..Wed,Sat"),
        ("*:0/15", "*-*-* *:00,15,30,45:00"),
        ("8..18/5:0", "08,13,18:00"),
        ("*:8..9/7:0", "*:8:0"),
        ("  daily ", "*-*-* 0:0"),
        ("Weekly", "Mon"),
        ("quarterly", "*-1/3-1"),
        ("semiannually", "*-1,7-1"),
    ],
)
def test_the_same_in_other_words(text: str, same: str) -> None:
    assert calendar(text) == calendar(same)


def test_components() -> None:
    found = calendar("Tue,Sun 2026..2030/2-2,10..11-1/10 22..23,3:59")
    assert found == Calendar(
        (1, 6), (2026, 2028, 2030), (2, 10, 11), (1, 11, 21, 31), (3, 22, 23), (59,), (0,)
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it says nothing"),
        (" ", "it says nothing"),
        ("nightly", '"nightly" is no day of the week, and no word such as daily'),
        ("Mon..Fry", '"fry" is no day of the week'),
        ("Fri..Mon", '"fri..mon" runs backwards: a week begins on Monday'),
        ("Mon,,Tue", '"" is no day of the week'),
        ("25:00", "hour 25 is not in 0 to 23"),
        ("02:60", "minute 60 is not in 0 to 59"),
        ("02:30:60", "second 60 is not in 0 to 59"),
        ("13-01", "month 13 is not in 1 to 12"),
        ("2026-01-32", "day 32 is not in 1 to 31"),
        ("1969-01-01", "year 1969 is not in 1970 to 2199"),
        ("*:*/5", 'minute "*/5" is no number, range or step, every fifth is 0/5'),
        ("*:5..1", "minute 5..1 runs backwards"),
        ("*:0/60", "minute 0/60 never takes a step"),
        ("*:0/0", "minute 0/0 never takes a step"),
        ("*:1,*", 'minute "*" is no number'),
        ("*:0:0.5", 'second "0.5" is no number'),
        ("*-*~1", 'day "*~1" is no number'),
        ("*-*-~1", 'day "~1" is no number'),
        ("Mon 7 *:0", '"7" is no date'),
        ("*-2-30", "no month that it names has such a day"),
        ("4,6-31", "no month that it names has such a day"),
        ("02:30 UTC", '"UTC" is too much: a schedule is in the time zone of the machine'),
        ("daily daily", '"daily" is no date'),
        ("30 2 * * *", '"30" is no date'),
        ("2:30 2:30", '"2:30" is too much'),
        ("1:2:3:4", '"1:2:3:4" is no time'),
        ("1-2-3-4", '"1-2-3-4" is no date'),
        ("1--3", '"1--3" is no date'),
        ("٣:00", "hour"),
        ("@0", '"@0" is no date'),
        ("1" * 201, "it is longer than 200 characters"),
    ],
)
def test_no_calendar(text: str, why: str) -> None:
    with pytest.raises(NoCalendarError) as told:
        calendar(text)
    assert why in str(told.value)


@given(st.text("0123456789*.,/-: ~MonFri@", max_size=30) | st.text(max_size=30))
def test_any_text_is_one_or_is_none(text: str) -> None:
    try:
        found = calendar(text)
    except NoCalendarError:
        return
    for name in Calendar.__slots__:
        values = getattr(found, name)
        assert values and list(values) == sorted(set(values))


def test_shorthands_are_expressions() -> None:
    for word, expression in SHORTHANDS.items():
        assert calendar(word) == calendar(expression)


def test_days_of_months() -> None:
    assert [month_days(2026, month) for month in (1, 2, 4, 12)] == [31, 28, 30, 31]
    assert [month_days(year, 2) for year in (2000, 2024, 2100)] == [29, 29, 28]
