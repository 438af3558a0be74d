"""Packages of a node: what could be updated, doing it, and following that.

Room: web. Whether it may be the node itself decides, at that moment: its words are shown.
"""

from __future__ import annotations

from urllib.parse import quote

from starlette.responses import Response

from carpool.agent.waits import PACKAGES_WAIT_S
from carpool.errors import CarpoolError
from carpool.web import backupview, updateview
from carpool.web.accounts import Role
from carpool.web.backup import MORE_S, in_time, told
from carpool.web.backupview import Node
from carpool.web.notes import Note
from carpool.web.page import Pages, Visit
from carpool.web.syncpages import begun

LISTED_WAIT_S = 20.0  # apt on a small machine
REFRESH_WAIT_S = 400.0
DEEDS = ("update", "reboot", "follow")

pages = Pages()


@pages.get("/backup/update")
async def packages(visit: Visit) -> Response:
    node, nodes = await _node(visit, visit.request.query_params.get("node", ""))
    asked = visit.web.ask.get("/v1/packages", _there(node), timeout_s=PACKAGES_WAIT_S + MORE_S)
    answer = await in_time(asked, node, LISTED_WAIT_S)
    failed = isinstance(answer, CarpoolError)
    return visit.page(
        "update.html",
        node=node,
        nodes=nodes,
        notes=visit.web.notes.take(visit.session),
        failed=[Note.of(answer)] if isinstance(answer, CarpoolError) else [],
        listing=None if failed else updateview.listing_of(answer),  # type: ignore[arg-type]
    )


@pages.post("/backup/update/lists", Role.OPERATOR)
async def refresh(visit: Visit) -> Response:
    """Have the lists of packages fetched."""
    node, _nodes = await _node(visit, visit.form.get("node", ""))
    asked = visit.web.ask.post(
        "/v1/packages/refresh", by=visit.by, params=_there(node), timeout_s=REFRESH_WAIT_S
    )
    answer = await told(asked)
    if isinstance(answer, CarpoolError):
        visit.web.notes.add(visit.session, Note.of(answer))
    return visit.to(f"/backup/update?node={quote(node.name, safe='')}")


@pages.post("/backup/update", Role.OPERATOR)
async def act(visit: Visit) -> Response:
    """Update it, reboot it, or follow what is under way."""
    deed = visit.form.get("deed", "")
    node, _nodes = await _node(visit, visit.form.get("node", ""))
    if deed not in DEEDS:
        raise CarpoolError(f"no such action: {deed[:80]!r}", hint="load the page again")
    body: dict[str, object] = {
        "peer": "" if node.here else node.name,
        "install": deed != "reboot",
        "reboot": deed == "reboot" or visit.form.get("reboot") == "yes",
        "follow": deed == "follow",
    }
    what = {"reboot": "reboot", "follow": "follow the update of"}.get(deed, "update packages of")
    return begun(visit, f"{what} {node.name}", node.name, "/v1/packages/update", body)


async def _node(visit: Visit, name: str) -> tuple[Node, list[Node]]:
    nodes = backupview.nodes_of(await visit.web.ask.get("/v1/nodes"))
    node = backupview.chosen(nodes, name)
    if node is None or name not in ("", node.name):
        raise CarpoolError(f"no such node: {name[:80]!r}", hint="load the Backup page again")
    return node, nodes


def _there(node: Node) -> dict[str, str]:
    return {} if node.here else {"peer": node.name}
