"""All nodes of the group as they are this second: what the status page shows.

Room: agent. The routes; who asks peers is watched.py.
"""

from __future__ import annotations

import asyncio
import os
import platform

from fastapi import APIRouter

from carpool import __version__
from carpool.agent.agent import Agent
from carpool.agent.answers import NodeState
from carpool.agent.asker import ThisAgent
from carpool.api.control import FAILOVER, STATES, as_json

ROWS_MAX = 1000

router = APIRouter(tags=["this node"])
peer_router = APIRouter(tags=["for peers"])


@router.get("/nodes")
async def nodes(agent: ThisAgent) -> dict[str, object]:
    """This node, then its peers: what each says of itself, and how old that is (`age_s`). One that
    does not answer has `error` and `hint`, and what it said last."""
    own, peers = await asyncio.gather(state(agent), agent.watched.look(agent.peers))
    here = {"here": True, "age_s": 0.0, "address": "", "error": "", "hint": ""}
    shown = [{**own.model_dump(), **here}, *peers]
    return {"here": agent.name, "group": agent.config.group.name, "nodes": shown}


@router.get("/samples")
async def samples(agent: ThisAgent) -> dict[str, object]:
    """The last hour of state replication on this node, oldest first: how long ago, entries in the
    table, requests a second to and from all peers; null: states did not answer."""
    return agent.samples.told()


@peer_router.get("/node")
@router.get("/node")
async def node(agent: ThisAgent) -> NodeState:
    """All that this node's status page shows of it."""
    return await state(agent)


async def state(agent: Agent) -> NodeState:
    """Of this node."""
    failover, states, system, checks = await asyncio.gather(
        agent.status(FAILOVER),
        agent.status(STATES),
        asyncio.to_thread(_system),
        agent.checks.rows(),
    )
    return NodeState(
        name=agent.name,
        version=__version__,
        kernel=os.uname().release,
        system=system,
        uptime_s=round(agent.now_s(), 1),  # CLOCK_MONOTONIC counts from the boot
        wall_time=agent.wall_iso(),
        failover=as_json(failover) or {},
        states=as_json(states),
        troubles=list(agent.surroundings.status()),
        alert_targets=agent.alerts.count,
        checks=rows(checks.get("checks")),
        schedule=None if agent.schedule is None else agent.schedule.told(),
    )


def rows(told: object) -> list[dict[str, object]]:
    """No more than a peer takes."""
    found = told if isinstance(told, list) else []
    return [one for one in found if isinstance(one, dict)][:ROWS_MAX]


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"
