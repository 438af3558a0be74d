"""What programs of this machine may ask about services, of this node and of its peers.

Room: agent. Over the unix socket only; a peer's own agent does what concerns the peer.
"""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter

from carpool.agent.agent import Agent
from carpool.agent.answers import Name
from carpool.agent.asker import ThisAgent
from carpool.agent.client import PeerClient
from carpool.agent.send import PREFIX
from carpool.agent.servicepeer import ActBody, Deed, Unit
from carpool.agent.services import Action
from carpool.agent.waits import ACT_WAIT_S, LIST_WAIT_S

router = APIRouter(tags=["services"])


@router.get("/services")
async def services(agent: ThisAgent, peer: Name | None = None) -> dict[str, object]:
    """How the services of the selected sections do, here or on a peer."""
    if peer is not None:
        return await _peer(agent, peer).get(f"{PREFIX}/services", timeout_s=LIST_WAIT_S)
    return {"node": agent.name, "services": await agent.roster.rows()}


@router.post("/services/{name}/{action}")
async def act(
    agent: ThisAgent, name: Unit, action: Deed, body: ActBody, peer: Name | None = None
) -> dict[str, object]:
    """Start, stop, restart or reload a service that a section names, here or on a peer."""
    if peer is not None:
        path = f"{PREFIX}/services/{quote(name, safe='')}/{action}"
        return await _peer(agent, peer).post(path, body.model_dump(), timeout_s=ACT_WAIT_S)
    return {"node": agent.name, "service": await agent.roster.act(name, Action(action), body.by)}


def _peer(agent: Agent, name: str) -> PeerClient:
    return agent.configuration.sender.peer(name)
