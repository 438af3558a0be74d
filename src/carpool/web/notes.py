"""What came of a form, for the page that its sender sees next.

Room: web. In memory, by session and bounded: a page is shown after a 303, which carries nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from carpool.errors import CarpoolError
from carpool.web.session import SESSIONS_MAX, Session

NOTES_MAX = 8  # that one session has not seen yet


@dataclass(frozen=True, slots=True)
class Note:
    text: str
    hint: str = ""
    tone: str = "good"  # as the style sheet has it

    @classmethod
    def of(cls, error: CarpoolError) -> Note:
        return cls(error.message, error.hint, "bad")


class Notes:
    """Of all sessions; the one that left some first makes room."""

    def __init__(self) -> None:
        self._by_token: dict[str, list[Note]] = {}

    def add(self, session: Session, note: Note) -> None:
        found = self._by_token.setdefault(session.token, [])
        found.append(note)
        del found[:-NOTES_MAX]
        while len(self._by_token) > SESSIONS_MAX:
            del self._by_token[next(iter(self._by_token))]

    def take(self, session: Session) -> list[Note]:
        """Those that were not shown yet."""
        return self._by_token.pop(session.token, [])
