"""The machine's time zone, both ways, through summer and back."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from carpool.kernel import zone
from carpool.model.calendar import Civil

BERLIN = "CET-1CEST,M3.5.0,M10.5.0/3"  # a rule of POSIX: no package of zones is needed
SPRING_S, AUTUMN_S = 1774746000, 1792890000  # 2026-03-29 and 2026-10-25, 01:00 UTC


@pytest.fixture(autouse=True)
def berlin() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = BERLIN
    yield
    del os.environ["TZ"]
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


def test_spring_leaps_over_an_hour() -> None:
    assert zone.civil(SPRING_S - 1) == Civil(2026, 3, 29, 1, 59, 59)
    assert zone.civil(SPRING_S) == Civil(2026, 3, 29, 3, 0, 0)
    assert zone.wall_s(Civil(2026, 3, 29, 3, 0, 0)) == SPRING_S
    assert zone.wall_s(Civil(2026, 3, 29, 1, 59, 59)) == SPRING_S - 1
    assert zone.wall_s(Civil(2026, 3, 29, 2, 0, 0)) is None
    assert zone.wall_s(Civil(2026, 3, 29, 2, 59, 59)) is None


def test_autumn_says_an_hour_twice_and_the_first_counts() -> None:
    assert zone.civil(AUTUMN_S - 3600) == zone.civil(AUTUMN_S) == Civil(2026, 10, 25, 2, 0, 0)
    assert zone.wall_s(Civil(2026, 10, 25, 2, 0, 0)) == AUTUMN_S - 3600
    assert zone.wall_s(Civil(2026, 10, 25, 3, 0, 0)) == AUTUMN_S + 3600


def test_every_other_second_comes_back() -> None:
    for wall_s in range(AUTUMN_S - 10 * 86400, AUTUMN_S - 3600, 7919):
        assert zone.wall_s(zone.civil(wall_s)) == wall_s
    for wall_s in (0, 951782400, 7258032000):
        assert zone.wall_s(zone.civil(wall_s)) == wall_s


def test_another_zone_counts_at_once() -> None:
    os.environ["TZ"] = "UTC0"
    assert zone.civil(SPRING_S) == Civil(2026, 3, 29, 1, 0, 0)
    os.environ["TZ"] = "ABC-13"
    assert zone.wall_s(Civil(2026, 3, 29, 14, 0, 0)) == SPRING_S
