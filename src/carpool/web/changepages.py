"""A change of group.toml before it is made: its diff and what it does, and the button.

Room: web. Forms make drafts (`drafts.py`); how it goes on is a job (`jobs.py`), whose page counts
down until somebody confirms it. Refuses to know what is edited.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from starlette.responses import Response

from carpool.api.render import Fields, duration, entries_of, fields_of, number_of, text_of, words_of
from carpool.errors import CarpoolError
from carpool.web import diffview
from carpool.web.accounts import Role
from carpool.web.backup import told
from carpool.web.drafts import Draft
from carpool.web.jobs import ALL, APPLY
from carpool.web.members import Member, members_of
from carpool.web.page import Pages, Visit
from carpool.web.syncpages import REASON_MAX, begun

PREVIEW_WAIT_S = 30.0
WITHIN_S = (30, 60, 120, 300, 600)
WITHIN_MIN_S, WITHIN_DEFAULT_S = 5, 60

pages = Pages()


@pages.get("/change/{number}", Role.ADMIN)
async def change(visit: Visit) -> Response:
    draft, number = draft_of(visit)
    found = await preview(visit, draft)
    if isinstance(found, CarpoolError):
        return _page(visit, draft, number, {}, error=found, status=409)
    if found.get("refused"):
        return _page(visit, draft, number, found, await primaries(visit))
    return _page(visit, draft, number, found, silent=await _silent(visit))


@pages.post("/change/{number}", Role.ADMIN)
async def apply(visit: Visit) -> Response:
    return await begin(visit, draft_of(visit)[0])


async def begin(visit: Visit, draft: Draft, without: Sequence[str] = ()) -> Response:
    """As its form says; `without` peers that are away."""
    within = visit.form.get("within", "")
    is_time = within.isascii() and within.isdigit() and len(within) < 5
    if not (is_time and WITHIN_MIN_S <= int(within) <= WITHIN_S[-1]):
        raise CarpoolError("no such time to confirm it within", hint="choose one of the list")
    body = {
        "digest": draft.digest,
        "edits": [*draft.edits],
        "confirm_within_s": float(within),
        "reason": visit.form.get("reason", "")[:REASON_MAX],
        "force": visit.form.get("force") == "yes",
        "without": [*without],
    }
    stand = await told(visit.web.ask.get("/v1/group"))
    links = [] if isinstance(stand, CarpoolError) else [*own_pages(stand)]
    title = f"{draft.title}, without {', '.join(without)}" if without else draft.title
    return begun(visit, title, ALL, APPLY, body, links)


async def preview(visit: Visit, draft: Draft) -> Fields | CarpoolError:
    body = {"digest": draft.digest, "edits": [*draft.edits]}
    asked = visit.web.ask.post("/v1/group/preview", body, by=visit.by, timeout_s=PREVIEW_WAIT_S)
    return await told(asked)


async def primaries(visit: Visit, stand: Fields | None = None) -> list[tuple[str, str]]:
    """Where group.toml can be changed, when it is not here: other nodes that are MASTER, each with
    its pages."""
    told_so = await told(visit.web.ask.get("/v1/group")) if stand is None else stand
    nodes = await told(visit.web.ask.get("/v1/nodes"))
    if isinstance(told_so, CarpoolError) or isinstance(nodes, CarpoolError):
        return []
    masters = {one.name for one in members_of(nodes) if one.masters and not one.here}
    return [(name, url) for name, url in own_pages(told_so) if name in masters]


async def _silent(visit: Visit) -> list[Member]:
    """Peers that do not answer now."""
    nodes = await told(visit.web.ask.get("/v1/nodes"))
    found = [] if isinstance(nodes, CarpoolError) else members_of(nodes)
    return [one for one in found if one.error and not one.here]


def own_pages(stand: Fields) -> Iterator[tuple[str, str]]:
    """Each node's pages at addresses of its own, which no VIP takes along."""
    for row in entries_of(stand, "pages"):
        address, port = text_of(row, "address"), int(number_of(row, "port"))
        if address and 0 < port < 65536:
            host = f"[{address}]" if ":" in address else address
            yield text_of(row, "name"), f"https://{host}:{port}/"


def draft_of(visit: Visit) -> tuple[Draft, str]:
    number = visit.request.path_params["number"]
    return visit.web.drafts.find(visit.session, number), number


def _page(
    visit: Visit,
    draft: Draft,
    number: str,
    found: Fields,
    elsewhere: Sequence[tuple[str, str]] = (),
    *,
    silent: Sequence[Member] = (),
    error: CarpoolError | None = None,
    status: int = 200,
) -> Response:
    judged, refused = fields_of(found, "failover"), found.get("refused")
    return visit.page(
        "change.html",
        status,
        draft=draft,
        number=number,
        error=error,
        same=found.get("changed") is False,
        ok=found.get("ok") is True,
        problems=entries_of(found, "problems"),
        sections=diffview.sections_of(entries_of(found, "sections")),
        changes=words_of(judged, "changes"),
        objection=judged if "error" in judged else None,
        refused=refused if isinstance(refused, dict) else None,
        elsewhere=elsewhere,
        silent=silent,
        within=[(one, duration(one)) for one in WITHIN_S],
        default=WITHIN_DEFAULT_S,
        reason_max=REASON_MAX,
    )
