"""What a peer may ask of the mastership of this node, and of what happened here.

Room: agent. A peer that is paired may write the configuration of this node: it gains nothing here
that it had not.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from carpool.agent import operate
from carpool.agent.answers import Answer, Short, Strict, Words
from carpool.agent.asker import Asker, ThisAgent
from carpool.agent.operate import TEXT_MAX
from carpool.agent.syncpeer import named
from carpool.api.eventlog import EVENTS_MAX
from carpool.model.deed import REASON_MAX, Deed

Limit = Annotated[int, Query(ge=1, le=EVENTS_MAX)]
Reason = Annotated[str, Field(max_length=REASON_MAX)]


class DeedBody(Strict):
    deed: Deed
    reason: Reason = ""
    by: Words


class DeedDone(Answer):
    """What came of it; of a peer, checked."""

    node: Short
    deed: Deed
    changed: bool | None = Field(default=None, description="false: it was so already")
    took_s: float | None = Field(default=None, ge=0, le=3600, description="of a switchover")
    text: Words = ""


class EventRow(Answer):
    """As the control socket of failover tells it."""

    time: Short = Field(default="", description="RFC 3339")
    kind: Short = ""
    vhost: Short | None = None
    old: Short | None = None
    new: Short | None = None
    text: Annotated[str, Field(max_length=TEXT_MAX)] = ""


class EventsTold(Answer):
    node: Short
    events: list[EventRow] = Field(max_length=EVENTS_MAX)
    error: Words = Field(default="", description="why failover does not tell them itself, or empty")
    hint: Words = ""


router = APIRouter(tags=["for peers"])


@router.post("/operate")
async def do(agent: ThisAgent, peer: Asker, body: DeedBody) -> DeedDone:
    """Maintenance mode on or off, a switchover, CARP off or on: by an operator on the peer."""
    by = f"{body.by} on {named(peer)}"
    return DeedDone.model_validate(await operate.do(agent, body.deed, by, body.reason))


@router.get("/events")
async def events(agent: ThisAgent, limit: Limit = 100) -> EventsTold:
    """What happened here, oldest first."""
    return EventsTold.model_validate(await operate.events(agent, limit))
