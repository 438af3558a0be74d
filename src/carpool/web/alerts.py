"""Who is told of what happens to the group, and trying it.

Room: web. Shows the targets as the agent has them, without their secrets. They are changed in the
file alone: what holds passwords comes no nearer to a browser.
"""

from __future__ import annotations

from starlette.responses import Response

from carpool.api.render import entries_of, text_of, words_of
from carpool.errors import CarpoolError
from carpool.web.accounts import Role
from carpool.web.page import Pages, Visit

PATH = "/settings/alerts"
TRY_WAIT_S = 90.0  # for a try, and for another one that is under way

pages = Pages()


@pages.get(PATH)
async def alerts(visit: Visit) -> Response:
    return await _page(visit)


@pages.post(f"{PATH}/test", Role.OPERATOR)
async def test(visit: Visit) -> Response:
    name = visit.form.get("name", "") or None
    try:
        await visit.web.ask.post(
            "/v1/alerts/test", {"name": name}, by=visit.by, timeout_s=TRY_WAIT_S
        )
    except CarpoolError as refused:
        return await _page(visit, 422, error=refused)
    return visit.to(PATH)  # what came of it is what came last


async def _page(visit: Visit, status: int = 200, error: CarpoolError | None = None) -> Response:
    answer = await visit.web.ask.get("/v1/alerts")
    targets = [
        {
            "name": text_of(row, "name"),
            "url": text_of(row, "url"),
            "on": words_of(row, "on"),
            "waiting": row.get("waiting") or 0,
            "last": last if isinstance(last := row.get("last"), dict) and last else None,
        }
        for row in entries_of(answer, "alerts")
    ]
    return visit.page(
        "alerts.html",
        status,
        error=error,
        file=text_of(answer, "file"),
        per_hour=text_of(answer, "per_hour"),
        problems=words_of(answer, "problems"),
        targets=targets,
    )
