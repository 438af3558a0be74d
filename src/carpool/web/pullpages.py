"""Taking over what was changed on a peer: the diff to read first, then the work with its steps.

Room: web. The other direction of syncpages.py; what must not be, the agent refuses.
"""

from __future__ import annotations

from starlette.responses import Response

from carpool.errors import CarpoolError
from carpool.web import backupview, diffview
from carpool.web.accounts import Role
from carpool.web.backup import in_time
from carpool.web.backupview import Node
from carpool.web.jobs import ALL
from carpool.web.notes import Note
from carpool.web.page import Pages, Visit
from carpool.web.syncpages import REASON_MAX, WORK_WAIT_S, begun

pages = Pages()


@pages.get("/backup/pull")
async def diff(visit: Visit) -> Response:
    node = await _peer(visit, visit.request.query_params.get("peer", ""))
    body = {"peer": node.name, "sections": []}
    asked = visit.web.ask.post("/v1/pull/diff", body, by=visit.by, timeout_s=WORK_WAIT_S)
    answer = await in_time(asked, node, WORK_WAIT_S)
    failed = [Note.of(answer)] if isinstance(answer, CarpoolError) else []
    diffs = [] if isinstance(answer, CarpoolError) else diffview.peers_of(answer)
    return visit.page("pull.html", peer=node.name, failed=failed, diffs=diffs)


@pages.post("/backup/pull", Role.OPERATOR)
async def pull(visit: Visit) -> Response:
    form = visit.form
    node = await _peer(visit, form.get("peer", ""))
    body: dict[str, object] = {
        "peer": node.name,
        "sections": [],
        "reason": form.get("reason", "")[:REASON_MAX],
        "force": form.get("force") == "yes",
    }
    # It changes this node, and the agent does one thing at a time.
    return begun(visit, f"take over from {node.name}", ALL, "/v1/pull", body)


async def _peer(visit: Visit, name: str) -> Node:
    nodes = backupview.nodes_of(await visit.web.ask.get("/v1/nodes"))
    found = next((one for one in nodes if one.name == name and not one.here), None)
    if found is None:
        raise CarpoolError(f"this node knows no peer {name[:80]!r}", hint="choose one: /backup")
    return found
