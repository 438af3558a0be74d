"""How often the same thing is told."""

from __future__ import annotations

from carpool.machine.alertlimit import ALL_MAX, HOUR_S, Limit


def test_the_last_message_of_an_hour_says_that_it_is_that() -> None:
    limit = Limit()
    assert limit.take("a", 3, 0.0) == ""
    assert limit.take("a", 3, 60.0) == ""
    said = limit.take("a", 3, 120.0) or ""
    assert "message 3 about this within an hour" in said and "59 minutes" in said
    assert limit.take("a", 3, 180.0) is None and limit.take("a", 3, 240.0) is None
    assert limit.take("b", 3, 240.0) == ""  # of something else
    later = limit.take("a", 3, HOUR_S) or ""
    assert later.startswith("2 messages about this were kept back before.")


def test_what_waits_is_counted_once() -> None:
    limit = Limit()
    assert "message 1" in (limit.take("a", 1, 0.0) or "")
    assert limit.take("a", 1, 1.0) is None
    assert limit.take("a", 1, 2.0, fresh=False) is None
    assert "kept back" not in (limit.take("a", 1, HOUR_S, fresh=False) or "kept back")


def test_all_things_together_have_a_limit_and_leave_nothing() -> None:
    limit = Limit()
    taken = [limit.take(f"thing {number}", 6, 0.0) for number in range(ALL_MAX + 5)]
    assert taken.count("") == ALL_MAX and taken.count(None) == 5
    assert limit.take("another", 6, HOUR_S) == ""
