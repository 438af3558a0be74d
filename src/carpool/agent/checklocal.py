"""What programs of this machine may ask about checks.

Room: agent. Over the unix socket only.
"""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter

from carpool.agent.answers import Strict
from carpool.agent.asker import ThisAgent
from carpool.agent.hooklocal import ScriptName

router = APIRouter(tags=["checks"])


class RunNow(Strict):
    """One, or all."""

    name: ScriptName | None = None


@router.get("/checks")
async def checks(agent: ThisAgent) -> Mapping[str, object]:
    """The checks of this node, how each stands, and which files are none."""
    return await agent.checks.rows()


@router.post("/checks/run")
async def run(agent: ThisAgent, body: RunNow) -> Mapping[str, object]:
    """Run one or all of them now; how they stand then."""
    return await agent.checks.run_now(body.name)
