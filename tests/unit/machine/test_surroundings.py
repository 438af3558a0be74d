"""Clock, certificates and disk, as they are told."""

from __future__ import annotations

import pytest

from carpool.machine.surroundings import (
    CLOCK_MIN_S,
    DAY_S,
    ROOM_MIN_BYTES,
    of_certificates,
    of_clock,
    of_room,
)
from carpool.model.facts import Certificate

NOW_S = CLOCK_MIN_S + 1000 * DAY_S


def test_a_clock_before_there_was_a_carpool_is_told() -> None:
    assert not list(of_clock(NOW_S, "2027-09-28"))
    (told,) = of_clock(90.0, "1970-01-01")
    assert told.text.startswith("the clock of this machine says 1970-01-01")


@pytest.mark.parametrize(
    ("begins", "ends", "said"),
    [
        (-1000, -1, "expired 1 days ago"),
        (1, 1000, "is not valid for 1 days yet"),
        (-1000, 29, "expires in 29 days"),
        (-1000, 31, ""),
    ],
)
def test_dates_are_told_before_they_are_over(begins: int, ends: int, said: str) -> None:
    dates = Certificate("peers/fw2.pem", NOW_S + begins * DAY_S, NOW_S + ends * DAY_S)
    told = list(of_certificates([dates], NOW_S))
    assert [said] == [one.text.removeprefix("peers/fw2.pem ").split(":")[0] for one in told] or (
        not said and not told
    )


def test_a_clock_that_cannot_be_right_judges_no_date() -> None:
    assert not list(of_certificates([Certificate("node.pem", NOW_S, NOW_S + DAY_S)], 90.0))


def test_little_room_is_told() -> None:
    assert not list(of_room("/var/lib/carpool", ROOM_MIN_BYTES))
    (told,) = of_room("/var/lib/carpool", 2048)
    assert told.text.startswith("2 KiB are free in /var/lib/carpool")
