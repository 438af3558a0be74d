"""What programs of this machine ask of packages, here and on peers: the list, and an update that is
followed to its end, over restarts of the agent that does it.

Room: agent. Over the unix socket only; a peer's own agent does what concerns the peer.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from carpool.agent.agent import Agent
from carpool.agent.answers import NO_ROUTE, Name, Strict, Words, checked
from carpool.agent.aptrun import REFRESH_WAIT_S
from carpool.agent.asker import ThisAgent
from carpool.agent.client import PeerClient
from carpool.agent.job import Job
from carpool.agent.ndjson import Lines, streamed
from carpool.agent.packagepeer import AT_MAX, PackagesTold, UpdateTold
from carpool.agent.send import PREFIX
from carpool.agent.updatefollow import follow
from carpool.agent.updates import NOTES_MAX
from carpool.agent.waits import ALIVE_S, PACKAGES_WAIT_S
from carpool.errors import CarpoolError, PeerError

ASK_WAIT_S = 15.0  # how far it is; and beginning it
MORE_S = 10.0


class UpdateBody(Strict):
    """`follow`: begin nothing, and tell of what is under way or was last, from there on."""

    by: Words
    peer: Name = ""
    install: bool = True
    reboot: bool = False
    follow: bool = False
    at: Annotated[int, Field(ge=0, le=AT_MAX)] = 0
    notes: Annotated[int, Field(ge=0, le=NOTES_MAX)] = 0


router = APIRouter(tags=["packages"])


@router.get("/packages")
async def packages(agent: ThisAgent, peer: Name | None = None) -> PackagesTold:
    """What apt would upgrade here or on a peer, and how the last update went."""
    if peer is None:
        return PackagesTold.model_validate(await agent.updates.packages(refresh=False))
    client = _peer(agent, peer)
    answer = await _asked(client, "GET", f"{PREFIX}/packages", PACKAGES_WAIT_S)
    return checked(PackagesTold, answer, peer)


@router.post("/packages/refresh")
async def refresh(agent: ThisAgent, peer: Name | None = None) -> PackagesTold:
    """The same, after the lists were fetched."""
    if peer is None:
        return PackagesTold.model_validate(await agent.updates.packages(refresh=True))
    wait_s = REFRESH_WAIT_S + PACKAGES_WAIT_S
    answer = await _asked(_peer(agent, peer), "POST", f"{PREFIX}/packages/refresh", wait_s)
    return checked(PackagesTold, answer, peer)


@router.post("/packages/update", response_class=Lines)
async def update(agent: ThisAgent, body: UpdateBody) -> Lines:
    """Upgrade them here or on a peer, refused on a MASTER; a line for each step. It goes on when
    nobody listens any more."""
    name = body.peer or agent.name
    if not body.peer or body.peer == agent.name:
        return await _here(agent, body)
    client = _peer(agent, name)
    path = f"{PREFIX}/packages/update"
    number = ""
    if not body.follow:
        asked: dict[str, object] = {"by": body.by, "install": body.install, "reboot": body.reboot}
        answer = await _asked(client, "POST", path, ASK_WAIT_S + MORE_S, asked)
        number = checked(UpdateTold, answer, name).number

    async def told(at: int, notes: int) -> UpdateTold:
        params = {"at": str(at), "notes": str(notes)}
        answer = await _asked(client, "GET", path, ASK_WAIT_S, params=params)
        return checked(UpdateTold, answer, name)

    steps = follow(told, body.peer, agent.now_s, number=number, at=body.at, notes=body.notes)
    return await streamed(Job("local", f"update of {name}", body.by, steps).follow(ALIVE_S))


async def _here(agent: Agent, body: UpdateBody) -> Lines:
    number = ""
    if not body.follow:
        begun = await agent.updates.begin(body.by, install=body.install, reboot=body.reboot)
        number = str(begun["number"])

    async def told(at: int, notes: int) -> UpdateTold:
        return UpdateTold.model_validate(await asyncio.to_thread(agent.updates.told, at, notes))

    steps = follow(told, body.peer, agent.now_s, number=number, at=body.at, notes=body.notes)
    return await streamed(Job("local", "update of this node", body.by, steps).follow(ALIVE_S))


def _peer(agent: Agent, name: str) -> PeerClient:
    return agent.configuration.sender.peer(name)


async def _asked(
    client: PeerClient,
    method: str,
    path: str,
    timeout_s: float,
    body: dict[str, object] | None = None,
    params: dict[str, str] | None = None,
) -> dict[str, object]:
    """What the peer answers. Raises CarpoolError, with what to do."""
    try:
        if method == "GET":
            return await client.get(path, params, timeout_s=timeout_s)
        return await client.post(path, body, timeout_s=timeout_s)
    except CarpoolError as error:
        if error.message.startswith(f"{client.name}: {NO_ROUTE}"):
            raise PeerError(
                f"{client.name} runs an older carpool, which updates no packages",
                hint=f"update it by hand this once: `apt update && apt upgrade` on {client.name}",
            ) from error
        raise
