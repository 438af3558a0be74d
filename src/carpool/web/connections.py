"""Connections: a search in the state table of one node.

Room: web. Nothing is asked before somebody says what he looks for: a table may hold millions.
"""

from __future__ import annotations

from urllib.parse import quote

from starlette.responses import Response

from carpool.agent.objectlines import Answer
from carpool.agent.waits import SEARCH_WAIT_S
from carpool.errors import CarpoolError
from carpool.proto import ctline
from carpool.web.members import members_of
from carpool.web.page import Pages, Visit

pages = Pages()
FIELDS = ("address", "port", "protocol", "state")
FIELD_MAX = 64  # letters
WAIT_S = SEARCH_WAIT_S + 3.0
NAMES = {number: name for name, number in ctline.PROTOCOLS.items()}


@pages.get("/connections")
async def connections(visit: Visit) -> Response:
    query = visit.request.query_params
    names = [one.name for one in members_of(await visit.web.ask.get("/v1/nodes"))]
    node = query.get("node", "")
    asked = {key: query.get(key, "")[:FIELD_MAX].strip() for key in FIELDS}
    answer: Answer | None = None
    error: CarpoolError | None = None
    if node in names:
        path = "/v1/connections" if node == names[0] else f"/v1/connections/{quote(node, safe='')}"
        try:
            params = {key: text for key, text in asked.items() if text}
            answer = await visit.web.ask.get(path, params, timeout_s=WAIT_S)
        except CarpoolError as failed:
            error = failed
    return visit.page(
        "connections.html",
        200 if error is None else 422,
        names=names,
        node=node,
        asked=asked,
        answer=answer,
        error=error,
        protocols=NAMES,
        states=sorted(ctline.STATES),
    )
