"""What programs of this machine may ask about alerts, and trying one.

Room: agent. Over the unix sockets only; no answer holds a URL.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from carpool.agent.answers import Strict
from carpool.agent.asker import ThisAgent

router = APIRouter(tags=["alerts"])


class Try(Strict):
    """null: all targets."""

    name: Annotated[str, Field(max_length=64)] | None = None


@router.get("/alerts")
async def alerts(agent: ThisAgent) -> dict[str, object]:
    """The targets of alerts.toml, their URLs masked, and how the last message to each went."""
    return await agent.alerts.told()


@router.post("/alerts/test")
async def test(agent: ThisAgent, body: Try) -> dict[str, object]:
    """Send a message that is a try, now and once."""
    return {"tried": await agent.alerts.attempt(body.name)}
