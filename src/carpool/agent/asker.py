"""What routes are handed: the agent whose they are, and who asks.

Room: agent.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from carpool.agent.agent import Agent
from carpool.agent.doorman import SCOPE_PEER


async def agent_of(request: Request) -> Agent:
    agent = request.app.state.agent
    assert isinstance(agent, Agent)
    return agent


async def asker_of(request: Request) -> str | None:
    peer = request.scope[SCOPE_PEER]
    assert peer is None or isinstance(peer, str)
    return peer


ThisAgent = Annotated[Agent, Depends(agent_of)]
Asker = Annotated[str | None, Depends(asker_of)]  # a peer's name, or None: this machine
