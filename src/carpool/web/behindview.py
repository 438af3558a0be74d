"""Which node has an older group.toml, and the page that brings it the newer one.

Room: web. Pure. Who is behind, `machine/groupfiles.py` says; what a page does, its own.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote

from carpool.api.render import Fields, entries_of
from carpool.machine.groupfiles import behind
from carpool.web.groupview import short_of, text_of

WAYS_MAX = 16


class Way(NamedTuple):
    """`url` is "" where another node has the page: `text` says which."""

    text: str
    url: str


def ways_of(answer: Fields) -> list[Way]:
    """Of the answer to GET /v1/nodes."""
    here = text_of(answer, "here")
    found = []
    for older, newer, leads in [*behind(entries_of(answer, "nodes"))][:WAYS_MAX]:
        # Who is MASTER is sent nothing, and sends nothing to who has something newer.
        at, to = (older, newer) if leads else (newer, older)
        deed = f"take the newer group.toml over from {newer}"
        if not leads:
            deed = f"show what differs on {older}, and synchronise it"
        if here != at:
            found.append(Way(short_of(f"On the pages of {at}, below Backup: {deed}"), ""))
            continue
        path = "/backup/pull" if leads else "/backup/diff"
        found.append(Way(short_of(f"{deed[:1].upper()}{deed[1:]}"), f"{path}?peer={quote(to)}"))
    return found
