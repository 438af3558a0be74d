"""Edits of group.toml that somebody made in a form, and has not applied yet.

Room: web. In memory, bounded, each for the session that made it: passwords are among them, so they
stay out of addresses and of the pages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from carpool.errors import CarpoolError
from carpool.web.session import Session

DRAFTS_MAX = 64
NUMBER_BYTES = 16


@dataclass(frozen=True, slots=True)
class Draft:
    """`edits` as POST /v1/group/preview has them, for the text of that digest."""

    title: str  # "add the virtual IP 53@lan"
    edits: Sequence[Mapping[str, object]]
    digest: str
    back: str  # the page that it came from
    words: Sequence[str] = ()  # what it means, beyond what its diff says


class Drafts:
    """The oldest makes room."""

    def __init__(self, random_hex: Callable[[int], str]) -> None:
        self._random_hex = random_hex
        self._kept: dict[tuple[str, str], Draft] = {}

    def add(self, session: Session, draft: Draft) -> str:
        """The path of the page that shows it."""
        number = self._random_hex(NUMBER_BYTES)
        self._kept[session.token, number] = draft
        while len(self._kept) > DRAFTS_MAX:
            del self._kept[next(iter(self._kept))]
        return f"/change/{number}"

    def find(self, session: Session, number: str) -> Draft:
        """Raises CarpoolError."""
        draft = self._kept.get((session.token, number))
        if draft is None:
            raise CarpoolError(
                "there is no such change any more: it was made in another session, or long ago",
                hint="fill in its form again",
            )
        return draft
