"""What a paired node may ask the agent about itself; the rest of the list is in syncpeer.py,
servicepeer.py and grouppeer.py.

Room: agent. A route here may be asked by another machine: what it takes is hostile until checked.
"""

from __future__ import annotations

from fastapi import APIRouter

from carpool import __version__
from carpool.agent.agent import Agent
from carpool.agent.answers import API, PeerAbout
from carpool.agent.asker import ThisAgent
from carpool.api.control import FAILOVER
from carpool.errors import CarpoolError

router = APIRouter(tags=["for peers"])


@router.get("/about")
async def about(agent: ThisAgent) -> PeerAbout:
    """Who this node is, and which of its VIPs it holds."""
    return PeerAbout(
        name=agent.name,
        version=__version__,
        api=API,
        group=agent.config.group.name,
        roles=await _roles(agent),
        wall_time=agent.wall_iso(),
        sync=agent.configuration.receiver.busy or None,
    )


async def _roles(agent: Agent) -> dict[str, str] | None:
    found = await agent.status(FAILOVER)
    if found is None or isinstance(found, CarpoolError):
        return None
    vhosts = found.get("vhosts")
    if not isinstance(vhosts, list):
        return None
    return {f"{one['vhid']}@{one['interface']}": str(one["state"]) for one in vhosts}
