"""What a peer's `carpool doctor` may ask: facts of this machine that a peer may know anyway.

Room: agent. No rules, no processes, no keys: devices, addresses, versions, the clock.
"""

from __future__ import annotations

from fastapi import APIRouter

from carpool.agent.answers import FactsBody
from carpool.agent.asker import Asker, ThisAgent
from carpool.agent.syncpeer import named

router = APIRouter(tags=["for peers"])


@router.get("/facts")
async def facts(agent: ThisAgent, peer: Asker) -> FactsBody:
    """The devices of this node, its connection table, version and clock."""
    named(peer)
    return await agent.examiner.facts(agent.config, await agent.roles())
