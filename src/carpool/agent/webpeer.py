"""What a peer tells of its pages: who did what there.

Room: agent.
"""

from __future__ import annotations

from fastapi import APIRouter

from carpool.agent.answers import Strict, Words
from carpool.agent.asker import Asker, ThisAgent
from carpool.agent.syncpeer import named

router = APIRouter(tags=["for peers"])


class DeedBody(Strict):
    text: Words


@router.post("/deeds")
async def deeds(agent: ThisAgent, peer: Asker, body: DeedBody) -> dict[str, object]:
    """Who did what by the pages of that node, and what came of it: for the events of this one."""
    agent.deeds.hear(named(peer), body.text)
    return {}
