"""What came of a form is shown once, to who sent it."""

from __future__ import annotations

from carpool.web.notes import NOTES_MAX, Note, Notes
from carpool.web.session import SESSIONS_MAX, Session


def session(token: str) -> Session:
    return Session("ann", token, "192.0.2.1", 0.0, 0.0)


def test_each_is_shown_once_and_to_its_session_alone() -> None:
    notes = Notes()
    notes.add(session("a"), Note("one"))
    assert notes.take(session("b")) == []
    assert [one.text for one in notes.take(session("a"))] == ["one"]
    assert notes.take(session("a")) == []


def test_it_keeps_so_many() -> None:
    notes = Notes()
    for number in range(NOTES_MAX + 1):
        notes.add(session("a"), Note(str(number)))
    assert [one.text for one in notes.take(session("a"))] == [*map(str, range(1, NOTES_MAX + 1))]
    for number in range(SESSIONS_MAX + 1):
        notes.add(session(str(number)), Note("x"))
    assert notes.take(session("0")) == [] and notes.take(session("1")) != []
