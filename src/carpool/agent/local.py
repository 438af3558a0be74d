"""What programs of this machine may ask the agent, on its unix socket.

Room: agent.
"""

from __future__ import annotations

import asyncio
import os

from fastapi import APIRouter

from carpool import __version__
from carpool.agent.answers import API, About, PeerState, Status
from carpool.agent.asker import ThisAgent
from carpool.agent.client import PeerClient
from carpool.api.control import FAILOVER, STATES, as_json
from carpool.errors import CarpoolError

router = APIRouter(tags=["this node"])


@router.get("/about")
async def about(agent: ThisAgent) -> About:
    """This agent, and its peers: whether they answer, and what they say of themselves."""
    sync = agent.config.group.sync
    own = () if sync is None else agent.config.node.addresses.get(sync.interface, ())
    return About(
        name=agent.name,
        version=__version__,
        api=API,
        group=agent.config.group.name,
        pid=os.getpid(),
        uptime_s=round(agent.now_s() - agent.started_s, 3),
        root=str(agent.root),
        listens=[f"{address} port {sync.port}" for address in own if sync is not None],
        stuck=agent.configuration.stuck or None,
        refused=dict(agent.refusals.counts),
        peers=list(await asyncio.gather(*map(_state, agent.peers.values()))),
    )


async def _state(peer: PeerClient) -> PeerState:
    address = str(peer.door.target)
    try:
        found = await peer.about()
    except CarpoolError as error:
        return PeerState(
            name=peer.name, address=address, reachable=False, error=error.message, hint=error.hint
        )
    return PeerState(name=peer.name, address=address, reachable=True, about=found)


@router.get("/status")
async def status(agent: ThisAgent) -> Status:
    """What the failover and states processes tell, as `carpool status --json` prints it."""
    failover, states = await asyncio.gather(agent.status(FAILOVER), agent.status(STATES))
    shown = as_json(failover)
    assert shown is not None, "a node without failover is none"
    return Status(failover=shown, states=as_json(states))


@router.get("/troubles")
async def troubles(agent: ThisAgent) -> dict[str, object]:
    """What is wrong with the clock, certificates or the disk of this node: `key`, `text`, `hint`
    and `since_s` of each. What is wrong with failover and states is in their own status."""
    return {"troubles": agent.surroundings.status()}


@router.post("/reload")
async def reload(agent: ThisAgent) -> dict[str, object]:
    """Read node.toml and group.toml anew: sections, and what fills templates. In `restart`: what
    of them counts only when the agent is started again."""
    return {"restart": await agent.reload()}
