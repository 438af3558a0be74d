"""What `carpool doctor` of this machine asks its agent: what peers say.

Room: agent. Over the unix socket only.
"""

from __future__ import annotations

from fastapi import APIRouter

from carpool.agent.answers import ListenBody
from carpool.agent.asker import ThisAgent
from carpool.agent.together import together

router = APIRouter(tags=["doctor"])


@router.get("/doctor/peers")
async def peers(agent: ThisAgent) -> dict[str, object]:
    """Of each peer, its facts and how its clock stands to ours, or why there are none."""
    asked = list(agent.peers.values())
    answers = await together(agent.examiner.ask(peer) for peer in asked)
    return {"peers": dict(zip((peer.name for peer in asked), answers, strict=True))}


@router.post("/doctor/listen")
async def listen(agent: ThisAgent, body: ListenBody) -> dict[str, object]:
    """Have all peers listen on the wires of their VIPs; what each has heard, or why not."""
    asked = list(agent.peers.values())
    answers = await together(agent.examiner.ask_to_listen(peer, body) for peer in asked)
    return {"peers": dict(zip((peer.name for peer in asked), answers, strict=True))}
