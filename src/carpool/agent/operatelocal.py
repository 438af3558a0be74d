"""What programs of this machine ask to move the mastership, and to see what happened, here or on a
peer.

Room: agent. Over the unix socket only; a peer's own agent does what concerns the peer.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Header

from carpool.agent import operate
from carpool.agent.agent import Agent
from carpool.agent.answers import Name, Strict, checked
from carpool.agent.asker import ThisAgent
from carpool.agent.client import PeerClient
from carpool.agent.operatepeer import DeedDone, EventsTold, Limit, Reason
from carpool.agent.send import PREFIX
from carpool.agent.waits import OPERATE_WAIT_S
from carpool.errors import UnreachableError
from carpool.model.deed import Deed

EVENTS_WAIT_S = 1.5  # of a peer: a page that renews itself waits for it
EVENTS_MAX_BYTES = 8 * 1024 * 1024

# For whom a program asks: `admin from 192.0.2.7`.
By = Annotated[str, Header(alias="carpool-by", max_length=200)]


class MaintenanceBody(Strict):
    on: bool
    reason: Reason = ""


router = APIRouter(tags=["failover"])


@router.post("/maintenance")
async def maintenance(
    agent: ThisAgent, body: MaintenanceBody, peer: Name | None = None, by: By = ""
) -> DeedDone:
    """Keep this node, or a peer, from being master, over restarts; or end that."""
    deed = Deed.MAINTENANCE_ON if body.on else Deed.MAINTENANCE_OFF
    return await _do(agent, deed, peer, by, body.reason)


@router.post("/switchover")
async def switchover(agent: ThisAgent, peer: Name | None = None, by: By = "") -> DeedDone:
    """Give the mastership away, once, gracefully."""
    return await _do(agent, Deed.SWITCHOVER, peer, by)


@router.post("/disable")
async def disable(agent: ThisAgent, peer: Name | None = None, by: By = "") -> DeedDone:
    """Take a node out of the group until `enable`, or until its failover process restarts."""
    return await _do(agent, Deed.DISABLE, peer, by)


@router.post("/enable")
async def enable(agent: ThisAgent, peer: Name | None = None, by: By = "") -> DeedDone:
    """End `disable`."""
    return await _do(agent, Deed.ENABLE, peer, by)


@router.get("/events")
async def events(agent: ThisAgent, limit: Limit = 100, peer: Name | None = None) -> EventsTold:
    """What happened here or on a peer, oldest first."""
    if peer is None:
        return EventsTold.model_validate(await operate.events(agent, limit))
    client = _peer(agent, peer)
    try:
        async with asyncio.timeout(EVENTS_WAIT_S):
            answer = await client.get(
                f"{PREFIX}/events", {"limit": str(limit)}, max_bytes=EVENTS_MAX_BYTES
            )
    except TimeoutError:
        raise UnreachableError(
            f"{peer} ({client.door.target}) has not told its events within {EVENTS_WAIT_S:g} s",
            hint=f"is {peer} up, and the link between the nodes?",
        ) from None
    return checked(EventsTold, answer, peer)


async def _do(agent: Agent, deed: Deed, peer: str | None, by: str, reason: str = "") -> DeedDone:
    if peer is None:
        return DeedDone.model_validate(await operate.do(agent, deed, by, reason))
    body = {"deed": deed.value, "reason": reason, "by": by or "a program"}
    answer = await _peer(agent, peer).post(f"{PREFIX}/operate", body, timeout_s=OPERATE_WAIT_S)
    return checked(DeedDone, answer, peer)


def _peer(agent: Agent, name: str) -> PeerClient:
    return agent.configuration.sender.peer(name)
