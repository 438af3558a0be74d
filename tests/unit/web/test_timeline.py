"""Events of all nodes as one list."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone

import pytest

from carpool.web.timeline import KINDS, Wish, days, events_of, newest


def row(time: str = "2026-07-01T10:00:00.250Z", **more: object) -> dict[str, object]:
    told: dict[str, object] = {"time": time, "kind": "transition", "vhost": "51@lan"}
    return told | {"old": None, "new": None, "text": ""} | more


MOVED = row(old="BACKUP", new="MASTER", text="no advertisement for 3.00 s")


def test_nodes_are_merged_and_what_happened_at_once_stays_in_order() -> None:
    one = [row(text="a"), row("2026-07-01T10:00:02+00:00", text="d"), row(text="b")]
    other = [row("2026-07-01T12:00:01+02:00", text="c")]
    found = [
        *events_of("fw1", {"events": one}),
        *events_of("fw2", {"events": other}),
    ]
    told = [(event.node, event.text) for event in newest(found, Wish(), 10)]
    assert told == [("fw1", "d"), ("fw2", "c"), ("fw1", "b"), ("fw1", "a")]
    assert [event.text for event in newest(found, Wish(), 2)] == ["d", "c"]


@pytest.mark.parametrize(
    ("wish", "texts"),
    [
        (Wish(), ["no advertisement for 3.00 s", "demoted: New disk"]),
        (Wish(node="fw1"), ["no advertisement for 3.00 s", "demoted: New disk"]),
        (Wish(node="fw2"), []),
        (Wish(kind="failovers"), ["no advertisement for 3.00 s"]),
        (Wish(kind="transitions"), ["no advertisement for 3.00 s"]),
        (Wish(kind="demotion"), ["demoted: New disk"]),
        (Wish(text="new DISK"), ["demoted: New disk"]),
        (Wish(text="51@lan", kind="failovers"), ["no advertisement for 3.00 s"]),
        (Wish(text="master"), ["no advertisement for 3.00 s"]),
        (Wish(kind="hooks"), []),
    ],
)
def test_what_is_wanted(wish: Wish, texts: list[str]) -> None:
    demoted = row(kind="demotion", vhost=None, text="demoted: New disk")
    found = events_of("fw1", {"events": [demoted, MOVED]})
    assert [event.text for event in newest(found, wish, 10)] == texts


def test_days_are_those_of_the_zone() -> None:
    found = events_of("fw1", {"events": [row("2026-07-01T23:30:00Z"), row("2026-07-02T01:00:00Z")]})
    told = newest(found, Wish(), 10)
    assert [day.date for day in days(told, UTC)] == [
        "Thursday 2026-07-02 UTC",
        "Wednesday 2026-07-01 UTC",
    ]
    (day,) = days(told, timezone(timedelta(hours=2), "CEST"))
    assert day.date == "Thursday 2026-07-02 CEST"
    assert [time for time, _event in day.rows] == ["03:00:00.000", "01:30:00.000"]
    assert list(days([], UTC)) == []


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"events": 3},
        {"events": ["x", None]},
        {"events": [{}]},
        {"events": [row("yesterday")]},
        {"events": [row("0001-01-01T00:00:00+14:00")]},
        {"events": [row("9999-12-31T23:59:59-14:00", text=[1])]},
        {"events": [{"time": 7, "kind": {}, "new": []}]},
    ],
)
def test_odd_ones_are_shown_as_far_as_they_go(answer: dict[str, object]) -> None:
    found = newest(events_of("fw2", answer), Wish(), 10)
    for zone in (UTC, timezone(timedelta(hours=14)), timezone(-timedelta(hours=12))):
        assert sum(len(day.rows) for day in days(found, zone)) == len(found)


def test_a_failover_is_one_who_became_master() -> None:
    (moved, back) = events_of("fw1", {"events": [MOVED, row(old="MASTER", new="BACKUP")]})
    assert moved.is_failover and not back.is_failover
    assert moved.iso == "2026-07-01T10:00:00.250+00:00"
    assert "failovers" in KINDS
