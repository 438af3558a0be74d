"""What a paired node may ask the agent about itself; the rest of the list is in syncpeer.py,
servicepeer.py, grouppeer.py and doctorpeer.py.

Room: agent. A route here may be asked by another machine: what it takes is hostile until checked.
"""

from __future__ import annotations

from fastapi import APIRouter

from carpool import __version__
from carpool.agent.answers import API, PeerAbout
from carpool.agent.asker import ThisAgent

router = APIRouter(tags=["for peers"])


@router.get("/about")
async def about(agent: ThisAgent) -> PeerAbout:
    """Who this node is, and which of its VIPs it holds."""
    return PeerAbout(
        name=agent.name,
        version=__version__,
        api=API,
        group=agent.config.group.name,
        roles=await agent.all_roles(),
        wall_time=agent.wall_iso(),
        sync=agent.configuration.receiver.busy or None,
    )
