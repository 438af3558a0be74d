"""A change of group.toml without peers that are away: the second step, which says what follows.

Room: web. Whether a peer is away, the agent finds out, here and once more when it is asked to do it
(`agent/absence.py`). The first step, and how it is done, are changepages.py's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from starlette.responses import Response

from carpool.api.clean import clean
from carpool.api.render import Fields, duration, number_of, text_of, words_of
from carpool.errors import CarpoolError
from carpool.web import diffview
from carpool.web.accounts import Role
from carpool.web.backup import told
from carpool.web.changepages import WITHIN_DEFAULT_S, WITHIN_S, begin, draft_of, preview
from carpool.web.page import Pages, Visit
from carpool.web.syncpages import REASON_MAX

AWAY_WAIT_S = 20.0  # our agent tries all of their addresses
BETWEEN = ","  # names of nodes, in a field: none has one in it

pages = Pages()


class Peer(NamedTuple):
    """One that does not answer."""

    name: str
    away: bool
    why: str
    hint: str
    sign: str  # that its machine runs all the same
    age: str  # "3 days": since it answered; "": not known


@pages.get("/change/{number}/alone", Role.ADMIN)
async def ask(visit: Visit) -> Response:
    """Who is away, what follows, and the button if all who do not answer are."""
    return await _page(visit)


@pages.post("/change/{number}/alone", Role.ADMIN)
async def apply(visit: Visit) -> Response:
    draft, _number = draft_of(visit)
    names = [one for one in visit.form.get("without", "").split(BETWEEN) if one]
    if not names:
        raise CarpoolError("without whom?", hint="load the page of the change again")
    if visit.form.get("understood") != "yes":
        error = CarpoolError("say that you have read what follows from it", hint="it is the tick")
        return await _page(visit, error, 400)
    return await begin(visit, draft, without=names)


async def _page(visit: Visit, error: CarpoolError | None = None, status: int = 200) -> Response:
    draft, number = draft_of(visit)
    found = await preview(visit, draft)
    answer = await told(visit.web.ask.get("/v1/group/away", timeout_s=AWAY_WAIT_S))
    for one in (answer, found):
        if isinstance(one, CarpoolError):
            error, status = error or one, 409 if status == 200 else status
    looked = {} if isinstance(answer, CarpoolError) else answer
    made = {} if isinstance(found, CarpoolError) else found
    silent = silent_of(looked)
    good = made.get("ok") is True and made.get("changed") is True and not made.get("refused")
    failover = made.get("failover")
    judged = failover if isinstance(failover, Mapping) else {}
    return visit.page(
        "alone.html",
        status,
        draft=draft,
        number=number,
        error=error,
        silent=silent,
        names=[one.name for one in silent],
        without=BETWEEN.join(one.name for one in silent),
        may_be=good and "error" not in judged and bool(silent) and all(one.away for one in silent),
        good=good,
        changes=words_of(judged, "changes"),
        sections=diffview.sections_of(_rows(made)),
        within=[(one, duration(one)) for one in WITHIN_S],
        default=WITHIN_DEFAULT_S,
        reason_max=REASON_MAX,
    )


def _rows(found: Fields) -> list[Fields]:
    rows = found.get("sections")
    return [one for one in rows if isinstance(one, Mapping)] if isinstance(rows, list) else []


def silent_of(answer: Fields) -> list[Peer]:
    """Of the answer to GET /v1/group/away."""
    peers = answer.get("peers")
    rows = peers if isinstance(peers, Mapping) else {}
    return [
        Peer(
            clean(str(name)),
            row.get("away") is True,
            text_of(row, "why"),
            text_of(row, "hint"),
            text_of(row, "sign"),
            duration(number_of(row, "age_s")) if number_of(row, "age_s") else "",
        )
        for name, row in rows.items()
        if isinstance(row, Mapping) and (row.get("why") or row.get("away"))
    ]
