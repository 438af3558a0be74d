"""What a peer may ask about services: those that this node's own sections name, and no others.

Room: agent.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field

from carpool.agent.answers import Strict, Words
from carpool.agent.asker import Asker, ThisAgent
from carpool.agent.services import Action
from carpool.agent.syncpeer import named

Unit = Annotated[str, Field(max_length=256)]
Deed = Literal["start", "stop", "restart", "reload"]


class ActBody(Strict):
    by: Words


router = APIRouter(tags=["for peers"])


@router.get("/services")
async def services(agent: ThisAgent) -> dict[str, object]:
    """How the services of the selected sections do here."""
    return {"node": agent.name, "services": await agent.roster.rows()}


@router.post("/services/{name}/{action}")
async def act(
    agent: ThisAgent, peer: Asker, name: Unit, action: Deed, body: ActBody
) -> dict[str, object]:
    """Start, stop, restart or reload a service that a section of this node names."""
    by = f"{body.by} on {named(peer)}"
    return {"node": agent.name, "service": await agent.roster.act(name, Action(action), by)}
