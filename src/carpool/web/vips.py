"""The virtual IPs: what each is on each node, and what moves them.

Room: web. A deed is asked twice: first a page that says what will happen now (deeds.py), then its
button, before which that is looked at again.
"""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.responses import Response

from carpool.agent.objectlines import Answer
from carpool.agent.waits import OPERATE_WAIT_S
from carpool.errors import CarpoolError
from carpool.model.deed import REASON_MAX, Deed
from carpool.web import deeds
from carpool.web.accounts import Role
from carpool.web.behindview import ways_of
from carpool.web.members import MASTER, Member, Vip, keys_of, members_of
from carpool.web.page import Pages, Visit

pages = Pages()
PATHS = {
    Deed.MAINTENANCE_ON: "/v1/maintenance",
    Deed.MAINTENANCE_OFF: "/v1/maintenance",
    Deed.SWITCHOVER: "/v1/switchover",
    Deed.DISABLE: "/v1/disable",
    Deed.ENABLE: "/v1/enable",
}
WAIT_S = OPERATE_WAIT_S + 5.0  # our agent waits for that of a peer
TOOK_MAX_MS = 60_000


@pages.get("/vips")
async def vips(visit: Visit) -> Response:
    nodes = await visit.web.ask.get("/v1/nodes")
    members = members_of(nodes)
    template = "vipslive.html" if visit.is_live else "vips.html"
    done = "" if visit.is_live else _done(visit, members)
    rows = [_row(key, members) for key in keys_of(members)]
    offered = {
        one.name: [deeds.plan(deed, one, members) for deed in deeds.choices(one)] for one in members
    }
    ways = ways_of(nodes)
    return visit.page(template, members=members, rows=rows, offered=offered, done=done, ways=ways)


@pages.get("/vips/act", Role.OPERATOR)
async def ask(visit: Visit) -> Response:
    """What would happen now."""
    query = visit.request.query_params
    member, plan = await _plan(visit, query.get("node", ""), query.get("deed", ""))
    return _confirm(visit, member, plan)


@pages.post("/vips/act", Role.OPERATOR)
async def act(visit: Visit) -> Response:
    """Do it, unless it would do something else by now."""
    member, plan = await _plan(visit, visit.form.get("node", ""), visit.form.get("deed", ""))
    if plan.refused:
        return _confirm(visit, member, plan, status=409)
    try:
        answer = await _do(visit, member, plan.deed)
    except CarpoolError as error:
        return _confirm(visit, member, plan, status=502, error=error)
    told = {"node": member.name, "done": plan.deed.value}
    took_s = answer.get("took_s")
    if isinstance(took_s, int | float):
        told["took"] = f"{took_s * 1000:.0f}"
    if answer.get("changed") is False:
        told["same"] = "1"
    return visit.to(f"/vips?{urlencode(told)}")


async def _members(visit: Visit) -> list[Member]:
    return members_of(await visit.web.ask.get("/v1/nodes"))


async def _plan(visit: Visit, node: str, deed: str) -> tuple[Member, deeds.Plan]:
    members = await _members(visit)
    member = next((one for one in members if one.name == node), None)
    if member is None or deed not in set(Deed):
        raise HTTPException(404)
    return member, deeds.plan(Deed(deed), member, members)


def _confirm(
    visit: Visit,
    member: Member,
    plan: deeds.Plan,
    *,
    status: int = 200,
    error: CarpoolError | None = None,
) -> Response:
    """`leaves`: the address that this page is looked at by goes to another node."""
    host = visit.request.url.hostname or ""
    held = {address.partition("/")[0] for vip in member.vips.values() for address in vip.addresses}
    leaves = member.here and host in held and bool(member.masters)
    reason = visit.form.get("reason", "")[:REASON_MAX]
    return visit.page(
        "deed.html",
        status,
        plan=plan,
        member=member,
        error=error,
        leaves=leaves,
        reason=reason,
        reason_max=REASON_MAX,
    )


async def _do(visit: Visit, member: Member, deed: Deed) -> Answer:
    body: dict[str, object] = {}
    if deed in (Deed.MAINTENANCE_ON, Deed.MAINTENANCE_OFF):
        body["on"] = deed is Deed.MAINTENANCE_ON
    if deed is Deed.MAINTENANCE_ON:
        reason = visit.form.get("reason", "").strip()
        if len(reason) > REASON_MAX:
            raise CarpoolError(f"a reason of {len(reason)} letters", hint=f"{REASON_MAX} at most")
        body["reason"] = reason
    params = {} if member.here else {"peer": member.name}
    return await visit.web.ask.post(PATHS[deed], body, by=visit.by, params=params, timeout_s=WAIT_S)


def _done(visit: Visit, members: list[Member]) -> str:
    """What came of the deed before: told again of our own words and a node of this group only,
    as anybody may write an address."""
    query = visit.request.query_params
    node, deed, took = query.get("node", ""), query.get("done", ""), query.get("took", "")
    if deed not in set(Deed) or node not in {one.name for one in members}:
        return ""
    is_time = took.isascii() and took.isdigit() and int(took[:9]) <= TOOK_MAX_MS
    took_ms = int(took) if is_time else None
    return deeds.result(Deed(deed), node, changed="same" not in query, took_ms=took_ms)


def _row(key: str, members: list[Member]) -> dict[str, object]:
    """A VIP on all nodes; `trouble` in words."""
    found: list[tuple[Member, Vip | None]] = [(one, one.vips.get(key)) for one in members]
    first = next(vip for _one, vip in found if vip is not None)
    masters = [one.name for one, vip in found if not one.error and vip and vip.state == MASTER]
    trouble = ""
    if not masters:
        trouble = "no MASTER"
    elif len(masters) > 1:
        trouble = f"{len(masters)} MASTERs"
    return {"key": key, "vip": first, "on": found, "trouble": trouble}
