"""What a peer's `carpool doctor` may ask: facts of this machine that a peer may know anyway.

Room: agent. No rules, no processes, no keys: devices, addresses, versions, the clock.
"""

from __future__ import annotations

from fastapi import APIRouter

from carpool.agent.answers import FactsBody, HeardBody, ListenBody
from carpool.agent.asker import Asker, ThisAgent
from carpool.agent.syncpeer import named

router = APIRouter(tags=["for peers"])


@router.get("/facts")
async def facts(agent: ThisAgent, peer: Asker) -> FactsBody:
    """The devices of this node, its connection table, version and clock."""
    named(peer)
    return await agent.examiner.facts(agent.config, await agent.roles())


@router.post("/listen")
async def listen(agent: ThisAgent, peer: Asker, body: ListenBody) -> HeardBody:
    """Who speaks CARP or VRRP on the wires of this node's VIPs, and whose probes arrive there. It
    sends probes with the same number meanwhile: five a second, harmless to anybody."""
    named(peer)
    return await agent.examiner.listen(agent.config, body)
