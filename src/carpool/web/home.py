"""The status page: whether the group would survive a failure now, and all that this rests on.

Room: web.
"""

from __future__ import annotations

import asyncio

from starlette.responses import Response

from carpool.agent.statuses import status_of
from carpool.errors import CarpoolError
from carpool.web.behindview import ways_of
from carpool.web.chart import charts_of
from carpool.web.checksview import checks_of
from carpool.web.driftview import configuration_of
from carpool.web.eventview import events_of
from carpool.web.failoverpages import rows_of
from carpool.web.groupview import Note, view_of
from carpool.web.page import Pages, Visit

pages = Pages()


@pages.get("/")
async def home(visit: Visit) -> Response:
    web, part = visit.web, visit.is_live
    template = "live.html" if part else "home.html"
    try:
        nodes, stands, happened, samples, moves = await asyncio.gather(
            web.ask.get("/v1/nodes"),
            web.drift.look(),
            web.events.look(),
            web.samples.look(),
            web.failovers.look(),
        )
    except CarpoolError as error:
        # htmx shows no part that comes with an error, and this one is to be seen.
        status = 200 if part else status_of(error)
        said = Note("bad", error.message, error.hint)
        return visit.page(template, status, view=None, error=said, renews=part)
    return visit.page(
        template,
        view=view_of(nodes),
        ways=ways_of(nodes),
        configuration=configuration_of(stands),
        happened=events_of(happened),
        failovers=rows_of(moves),
        checks=checks_of(nodes),
        charts=charts_of(samples),
        renews=part,
    )
