"""The last failovers, for the status page, and the page that explains one.

Room: web. Asks every node for its events; who does not answer is named. What they mean is
failovers.py's and explain.py's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from starlette.responses import Response

from carpool.agent.objectlines import Answer
from carpool.errors import CarpoolError
from carpool.web.ask import Ask
from carpool.web.explain import Failover, explained, shown, steps_of
from carpool.web.failovers import Move, moves_of, ordered
from carpool.web.lately import Seen
from carpool.web.members import members_of
from carpool.web.page import Pages, Visit
from carpool.web.timeline import Event, events_of

pages = Pages()
LAST_MAX = 5  # on the status page
EVENTS_FEW, EVENTS_ALL = 200, 1000  # of each node: enough for the last ones, and all that it keeps
FOUND = "found"

Missing = tuple[str, str, str]  # name, what, hint


@dataclass(frozen=True, slots=True)
class Row:
    """A failover in a table."""

    number: str
    date: str
    time: str
    failover: Failover


@pages.get("/events/failover/{number}")
async def show(visit: Visit) -> Response:
    number = visit.request.path_params["number"]
    names, told = await _ask(visit.web.ask, EVENTS_ALL)
    events = ordered(one for rows, _why in told for one in rows)
    moves = moves_of(events, names)
    move = next((one for one in moves if one.is_number(number)), None)
    if move is None:
        raise CarpoolError(
            "no node remembers this failover: each keeps its last 1000 events since it booted",
            hint="those that are known are on the Events page",
        )
    found = explained(move, events)
    return visit.page(
        "failover.html",
        row=row_of(found),
        failover=found,
        steps=[(_local(one.event.when), one) for one in steps_of(found, events)],
        missing=[why for _rows, why in told if why],
        shown=shown,
    )


async def lately(ask: Ask) -> Answer:
    """The last ones; asked while somebody looks (lately.py)."""
    names, told = await _ask(ask, EVENTS_FEW)
    events = ordered(one for rows, _why in told for one in rows)
    last = moves_of(events, names)[:LAST_MAX]
    return {FOUND: [row_of(explained(one, events)) for one in last]}


def rows_of(seen: Seen) -> list[Row]:
    found = (seen.answer or {}).get(FOUND)
    return [one for one in found if isinstance(one, Row)] if isinstance(found, list) else []


def numbers_of(events: Sequence[Event], names: Sequence[str]) -> dict[Event, str]:
    """By the event that began it: where a timeline leads to its explanation."""
    moves: list[Move] = moves_of(ordered(events), names)
    return {one.all[0]: one.number for one in moves}


async def _ask(ask: Ask, limit: int) -> tuple[list[str], list[tuple[list[Event], Missing | None]]]:
    members = members_of(await ask.get("/v1/nodes"))
    names = [one.name for one in members]
    told = await asyncio.gather(*(told_by(ask, one.name, one.here, limit) for one in members))
    return names, list(told)


async def told_by(
    ask: Ask, name: str, here: bool, limit: int
) -> tuple[list[Event], Missing | None]:
    """Its events, and why there are none, or not of its failover process."""
    params = {"limit": str(limit)} if here else {"limit": str(limit), "peer": name}
    try:
        answer = await ask.get("/v1/events", params)
    except CarpoolError as error:
        return [], (name, error.message, error.hint)
    why = None
    if answer.get("error"):
        why = (name, str(answer["error"]), str(answer.get("hint", "")))
    return events_of(name, answer), why


def row_of(failover: Failover) -> Row:
    date, time = _local(failover.move.all[0].when)
    return Row(failover.move.number, date, time, failover)


def _local(when: datetime) -> tuple[str, str]:
    try:
        local = when.astimezone()
    except (OverflowError, ValueError):
        local = when
    return f"{local:%Y-%m-%d %Z}".strip(), local.time().isoformat("milliseconds")
