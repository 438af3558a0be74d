"""The History pages: revisions of this node's configuration, the way back, past synchronisations.

Room: web.
"""

from __future__ import annotations

from urllib.parse import quote

from starlette.responses import Response

from carpool.errors import CarpoolError
from carpool.web import historyview
from carpool.web.accounts import Role
from carpool.web.page import Pages, Visit
from carpool.web.syncpages import begun

SHOWN = 100
WORK_WAIT_S = 60.0  # git reads what a revision changed

pages = Pages()


@pages.get("/history")
async def history(visit: Visit) -> Response:
    section, params = _asked(visit)
    answer = await visit.web.ask.get("/v1/history", params)
    rows = historyview.revisions_of(answer)
    return visit.page("history.html", rows=rows, section=section, most=SHOWN)


@pages.get("/history/syncs")
async def syncs(visit: Visit) -> Response:
    section, params = _asked(visit)
    answer = await visit.web.ask.get("/v1/results", params)
    rows = historyview.results_of(answer)
    return visit.page("syncs.html", rows=rows, section=section, most=SHOWN)


@pages.get("/history/{revision}")
async def show(visit: Visit) -> Response:
    name = visit.request.path_params["revision"]
    path = f"/v1/history/{quote(name, safe='')}"
    answer = await visit.web.ask.get(path, timeout_s=WORK_WAIT_S)
    return visit.page("revision.html", shown=historyview.shown(answer))


@pages.post("/history/{revision}/rollback", Role.OPERATOR)
async def rollback(visit: Visit) -> Response:
    """This node's sections, as they were in it."""
    revision = visit.request.path_params["revision"]
    named = [key.removeprefix("section.") for key in visit.form if key.startswith("section.")]
    if "sections" in visit.form and not named:
        raise CarpoolError("no section is ticked", hint="go back, and tick what is to go back")
    body = {
        "revision": revision,
        "sections": named,
        "force": visit.form.get("force") == "yes",
    }
    here = str((await visit.web.ask.get("/v1/nodes")).get("here") or "this node")
    return begun(visit, f"roll back {here} to {revision[:12]}", here, "/v1/rollback", body)


def _asked(visit: Visit) -> tuple[str, dict[str, str]]:
    section = visit.request.query_params.get("section", "")[:64]
    return section, {"limit": str(SHOWN), **({"section": section} if section else {})}
