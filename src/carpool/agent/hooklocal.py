"""What programs of this machine may ask about hooks.

Room: agent. Over the unix socket only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field

from carpool.agent.answers import Strict
from carpool.agent.asker import ThisAgent

router = APIRouter(tags=["hooks"])
ScriptName = Annotated[str, Field(max_length=64)]


class Try(Strict):
    """A role that the group, or a VIP (`51@lan`), is said to have taken."""

    role: Literal["INIT", "BACKUP", "MASTER", "DISABLED", "SPLIT"]
    vip: Annotated[str, Field(max_length=64)] | None = None


@router.get("/hooks")
async def hooks(agent: ThisAgent) -> Mapping[str, object]:
    """The hooks of this node, how each went last, and which files are none."""
    return await agent.hooks.rows()


@router.post("/hooks/{name}/run")
async def run(agent: ThisAgent, name: ScriptName, body: Try) -> Mapping[str, object]:
    """Run one now, with the document of such a transition."""
    return await agent.hooks.try_one(name, body.role, body.vip)
