"""The timeline: what happened on all nodes, to be filtered.

Room: web. A node that does not answer is named above what the others tell.
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlencode

from starlette.responses import Response

from carpool.web.failoverpages import numbers_of, told_by
from carpool.web.members import members_of
from carpool.web.page import Pages, Visit
from carpool.web.timeline import KINDS, Wish, days, newest

pages = Pages()
LIMITS = (50, 200, 1000)  # the nodes keep no more
TEXT_MAX = 100  # letters to search for


@pages.get("/events")
async def events(visit: Visit) -> Response:
    query = visit.request.query_params
    names = [one.name for one in members_of(await visit.web.ask.get("/v1/nodes"))]
    node, kind = query.get("node", ""), query.get("kind", "")
    wish = Wish(
        node if node in names else "",
        kind if kind in KINDS else "",
        query.get("text", "")[:TEXT_MAX].strip(),
    )
    limit = next((each for each in LIMITS if str(each) == query.get("limit")), LIMITS[0])
    asked = [name for name in names if wish.node in ("", name)]
    told = await asyncio.gather(
        *(told_by(visit.web.ask, name, name == names[0], _each(wish, limit)) for name in asked)
    )
    every = [event for rows, _why in told for event in rows]
    found = newest(every, wish, limit)
    chosen = {"node": wish.node, "kind": wish.kind, "text": wish.text, "limit": str(limit)}
    return visit.page(
        "eventslive.html" if visit.is_live else "events.html",
        days=list(days(found)),
        numbers=numbers_of(every, names),
        missing=[why for _rows, why in told if why],
        wish=wish,
        names=names,
        kinds=list(KINDS),
        limit=limit,
        limits=LIMITS,
        query=urlencode(chosen),
        full=len(found) == limit,
    )


def _each(wish: Wish, limit: int) -> int:
    """How many each node is asked for: what is filtered out leaves room for older ones."""
    return LIMITS[-1] if wish else limit
