"""The Backup page: the services of each node, and how the sections on it stand to ours.

Room: web. The agent of this node asks the others, and refuses what must not be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from urllib.parse import quote

from starlette.responses import Response

from carpool.agent.objectlines import Answer
from carpool.agent.waits import ACT_WAIT_S, LIST_WAIT_S
from carpool.errors import CarpoolError, UnreachableError
from carpool.web import backupview
from carpool.web.accounts import Role
from carpool.web.backupview import Node
from carpool.web.notes import Note
from carpool.web.page import Pages, Visit

DRIFT_WAIT_S = 3.0  # for a peer that does not answer: its services say why
SERVICES_WAIT_S = 8.0  # a page that takes longer is no page
SILENT_WAIT_S = 4.0  # it may just have been late
MORE_S = 5.0  # than the agent waits for a peer, so that its words arrive
ACTIONS = ("start", "stop", "restart", "reload")

pages = Pages()


@pages.get("/backup")
async def backup(visit: Visit) -> Response:
    ask = visit.web.ask
    nodes = backupview.nodes_of(await ask.get("/v1/nodes"))
    node = backupview.chosen(nodes, visit.request.query_params.get("node", ""))
    if node is None:
        raise CarpoolError("the agent knows no node, not even this one", hint="report it: a bug")
    services, drift = await asyncio.gather(
        in_time(
            ask.get("/v1/services", _there(node), timeout_s=LIST_WAIT_S + MORE_S),
            node,
            SERVICES_WAIT_S,
        ),
        told(ask.get("/v1/drift", {"wait_s": f"{DRIFT_WAIT_S:g}"})),
    )
    known = {} if isinstance(drift, CarpoolError) else drift
    failed = [one for one in (services, drift) if isinstance(one, CarpoolError)]
    return visit.page(
        "backup.html",
        nodes=nodes,
        node=node,
        notes=visit.web.notes.take(visit.session),
        failed=[Note.of(error) for error in failed],
        services=None if isinstance(services, CarpoolError) else backupview.services_of(services),
        standings=backupview.standings_of(known, node.name),
        waiting="" if node.here else backupview.waiting_on(known, node.name),
        waiting_here=backupview.waiting_here(known),
        own_version=backupview.other_version(nodes, node),
    )


@pages.post("/backup/service", Role.OPERATOR)
async def act(visit: Visit) -> Response:
    """Start, stop, restart or reload one; what came of it stands on the page."""
    form, ask = visit.form, visit.web.ask
    action, name = form.get("action", ""), form.get("name", "")
    nodes = backupview.nodes_of(await ask.get("/v1/nodes"))
    node = next((one for one in nodes if one.name == form.get("node")), None)
    if node is None or action not in ACTIONS:
        raise CarpoolError(
            f"no such node, or no such action: {form.get('node', '')[:80]!r}, {action[:80]!r}",
            hint="load the Backup page again",
        )
    path = f"/v1/services/{quote(name, safe='')}/{action}"
    body = {"by": visit.by}
    params = _there(node)
    timeout_s = ACT_WAIT_S + MORE_S
    answer = await told(ask.post(path, body, by=visit.by, params=params, timeout_s=timeout_s))
    if isinstance(answer, CarpoolError):
        note = Note.of(answer)
    else:
        note = Note(f"{backupview.acted(answer)}, after {action}")
    visit.web.notes.add(visit.session, note)
    return visit.to(f"/backup?node={quote(node.name, safe='')}")


async def told(asked: Awaitable[Answer]) -> Answer | CarpoolError:
    """The answer, or why there is none: the rest of the page is good all the same."""
    try:
        return await asked
    except CarpoolError as error:
        return error


async def in_time(asked: Awaitable[Answer], node: Node, wait_s: float) -> Answer | CarpoolError:
    """The same; of a node that is known not to answer nobody waits long for more."""
    try:
        async with asyncio.timeout(SILENT_WAIT_S if node.error else wait_s):
            return await told(asked)
    except TimeoutError:
        text = node.error or f"{node.name} has not answered within {wait_s:g} s"
        return UnreachableError(
            text, hint=node.hint or f"is {node.name} up, and the link between the nodes?"
        )


def _there(node: Node) -> dict[str, str]:
    return {} if node.here else {"peer": node.name}
