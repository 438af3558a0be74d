"""What happened last on this node, as the status page shows it.

Room: web. Pure; it believes no answer.
"""

from __future__ import annotations

from typing import NamedTuple

from carpool.api.render import moment
from carpool.web.groupview import Badge, entries_of, text_of
from carpool.web.lately import Seen
from carpool.web.picture import level

SHOWN_MAX = 12


class Event(NamedTuple):
    day: str
    time: str
    vip: str  # "": of the node
    before: str  # the state of the VIP; "": it did not change
    badge: Badge | None
    kind: str
    text: str


def events_of(seen: Seen) -> list[Event]:
    """Of the answer to GET /v1/events, newest first; none where that is not told."""
    rows = entries_of(seen.answer or {}, "events")
    found = []
    for row in rows[: -SHOWN_MAX - 1 : -1]:
        day, time = moment(text_of(row, "time"), None)
        new = text_of(row, "new")
        badge = Badge(new, level(new)) if new else None
        words = (text_of(row, key) for key in ("vhost", "old", "kind", "text"))
        vip, old, kind, text = words
        found.append(Event(day[:10], time[:8], vip, old, badge, kind, text))
    return found
