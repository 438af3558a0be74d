"""What a peer may ask about the group that this node goes by.

Room: agent.
"""

from __future__ import annotations

from fastapi import APIRouter

from carpool.agent.answers import GroupStand, Sha256, Strict
from carpool.agent.apply import Refused
from carpool.agent.asker import Asker, ThisAgent
from carpool.agent.syncpeer import named

router = APIRouter(tags=["for peers"])


class SettleBody(Strict):
    digest: Sha256


@router.get("/group")
async def group(agent: ThisAgent, peer: Asker) -> GroupStand:
    """Which group.toml counts here, and whether another one counts, too."""
    named(peer)
    if agent.configuration.receiver.waiting:  # it may yet become what it was
        raise Refused("a change of this node waits to be confirmed", hint="`carpool confirm`")
    return await agent.group.stand()


@router.post("/group/settle")
async def settle(agent: ThisAgent, peer: Asker, body: SettleBody) -> dict[str, object]:
    """Every node has the group.toml of this digest: what was before counts no more."""
    named(peer)
    await agent.group.settle(body.digest)
    return {}
