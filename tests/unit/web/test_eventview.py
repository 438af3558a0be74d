"""The last events, as the status page shows them."""

from __future__ import annotations

import pytest

from carpool.errors import UnreachableError
from carpool.web.eventview import SHOWN_MAX, events_of
from carpool.web.lately import Seen

MOVE = {
    "time": "2026-11-23T18:20:57.340Z",
    "kind": "state",
    "vhost": "51@lan",
    "old": "BACKUP",
    "new": "MASTER",
    "text": "no advertisement for 3.00 s",
}


def test_a_move() -> None:
    (event,) = events_of(Seen({"events": [MOVE]}, None, 0))
    assert (event.vip, event.before, event.text) == ("51@lan", "BACKUP", MOVE["text"])
    assert event.badge == ("MASTER", "good")


def test_the_newest_come_first_and_the_oldest_not_at_all() -> None:
    rows = [{"kind": "trouble", "text": str(number)} for number in range(100)]
    found = events_of(Seen({"events": rows}, None, 0))
    assert [event.text for event in found] == [str(99 - at) for at in range(SHOWN_MAX)]
    assert found[0].badge is None


def test_where_they_are_not_told_there_are_none() -> None:
    assert events_of(Seen(None, None, 0)) == []
    assert events_of(Seen(None, UnreachableError("gone", hint="x"), 0)) == []


@pytest.mark.parametrize("value", [None, 3, {}, "x", [None, 3, {}, {"time": 7, "new": []}]])
def test_any_answer_is_shown_somehow(value: object) -> None:
    events_of(Seen({"events": value}, None, 0))
