"""What the page of updates shows of packages.

Room: web. Pure: answers of the agent in, words out. It believes no answer: most of it is a peer's.
"""

from __future__ import annotations

from dataclasses import dataclass

from carpool.api import renderpackages
from carpool.api.render import Fields, entries_of, fields_of, text_of, words_of

ROWS_MAX = 1000  # that a page shows


@dataclass(frozen=True, slots=True)
class Row:
    """One package."""

    name: str
    kind: str  # "security" or ""
    old: str
    new: str
    origins: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Of one node. `masters`: why nothing is offered, or empty; `last`: how the last one went."""

    summary: str
    rows: list[Row]
    more: int  # that are not shown
    left: str
    reboot: str
    masters: str
    last: str
    tone: str  # of the last one
    under_way: bool


def listing_of(answer: Fields) -> Listing:
    """Of GET /v1/packages; security first."""
    found = [_row(one) for one in entries_of(answer, "packages")]
    found.sort(key=lambda one: not one.kind)
    last = fields_of(answer, "last")
    known = bool(text_of(last, "number"))
    under_way = known and text_of(last, "phase") != "ended"
    return Listing(
        summary=renderpackages.summary(answer),
        rows=found[:ROWS_MAX],
        more=max(0, len(found) - ROWS_MAX),
        left=", ".join(words_of(answer, "left")),
        reboot=text_of(answer, "reboot"),
        masters=", ".join(words_of(answer, "masters")),
        last=renderpackages.last_update(last) if known else "",
        tone="warn" if under_way else "bad" if text_of(last, "error") else "good",
        under_way=under_way,
    )


def _row(row: Fields) -> Row:
    return Row(
        text_of(row, "name"),
        "security" if row.get("security") is True else "",
        text_of(row, "old") or "comes anew",
        text_of(row, "new"),
        ", ".join(words_of(row, "origins")),
    )
