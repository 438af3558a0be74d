"""What goes on and on is told once in a while."""

from __future__ import annotations

from carpool.machine.effects import Note
from carpool.machine.teller import TELL_AGAIN_S, TOPICS_MAX, Teller
from carpool.model.config import VhostKey

KEY = VhostKey("lan", 51)


def test_at_once_and_then_once_a_minute() -> None:
    teller = Teller()
    note = [Note("reject", "text", KEY)]
    assert teller.tell(("a", 1), "reject", "text", 10.0, KEY) == note
    assert teller.tell(("a", 1), "reject", "text", 10.0 + TELL_AGAIN_S - 0.1, KEY) == []
    assert teller.tell(("a", 2), "reject", "text", 10.0, KEY) == note  # another topic
    assert teller.tell(("a", 1), "reject", "text", 10.0 + TELL_AGAIN_S, KEY) == note


def test_a_flood_of_topics_takes_no_memory_but_may_be_told_again() -> None:
    teller = Teller()
    for number in range(TOPICS_MAX):
        assert teller.tell(("flood", number), "reject", "text", 1.0) != []
    assert teller.tell(("flood", 0), "reject", "text", 1.0) == []
    assert teller.tell(("one more",), "reject", "text", 1.0) != []
    assert teller.tell(("flood", 0), "reject", "text", 1.0) != []
