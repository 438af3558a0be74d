"""What programs of this machine may ask about configuration.

Room: agent. Over the unix socket only; the command line's verbs are these routes.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from carpool.agent.answers import WAITS_MAX_S, Name, Strict, Words
from carpool.agent.asker import ThisAgent
from carpool.agent.configuration import Configuration
from carpool.agent.historyformat import checked_section
from carpool.agent.job import Job
from carpool.agent.ndjson import Lines, streamed
from carpool.agent.send import WORK_WAIT_S, Wish
from carpool.agent.waits import ALIVE_S
from carpool.errors import CarpoolError, KernelError

HISTORY_MAX = 1000
Names = Annotated[tuple[Name, ...], Field(max_length=256)]


class DiffBody(Strict):
    sections: Names = ()
    peers: Names = ()


class SyncBody(DiffBody):
    by: Words
    reason: Words = ""
    force: bool = False
    confirm_within_s: Annotated[float | None, Field(gt=0, le=WAITS_MAX_S)] = None
    restart_services: bool = False


class PullDiffBody(Strict):
    peer: Name
    sections: Names = ()


class PullBody(PullDiffBody):
    by: Words
    reason: Words = ""
    force: bool = False


class BackBody(Strict):
    revision: Annotated[str, Field(max_length=64)]
    sections: Names = ()
    by: Words
    force: bool = False


class PeersBody(Strict):
    peers: Names = ()


router = APIRouter(tags=["configuration"])


@router.get("/drift")
async def drift(
    agent: ThisAgent, wait_s: Annotated[float, Field(gt=0, le=WORK_WAIT_S)] = WORK_WAIT_S
) -> dict[str, object]:
    """By peer and section, without changing anything. Of a peer that has not answered within
    `wait_s` seconds nothing is known. In `waiting`, what waits to be confirmed on this node, and in
    `waiting_on`, by peer, on those."""
    peers = await agent.configuration.drift(wait_s)
    waits_on = agent.configuration.sender.waits_on
    return {"peers": peers, "waiting": agent.configuration.waits(), "waiting_on": waits_on}


@router.get("/schedule")
async def schedule(agent: ThisAgent) -> dict[str, object]:
    """When it synchronises by itself, and how the last time went; null: without a schedule."""
    return {"schedule": None if agent.schedule is None else agent.schedule.told()}


@router.post("/diff")
async def diff(agent: ThisAgent, body: DiffBody) -> dict[str, object]:
    """What a sync would change on each peer."""
    return {"peers": await agent.configuration.diff(body.sections, body.peers, Wish("diff"))}


@router.post("/sync", response_class=Lines)
async def sync(agent: ThisAgent, body: SyncBody) -> Lines:
    """Synchronise; a line for each step. It goes on when nobody listens any more."""
    wish = Wish(body.by, body.reason, body.force, body.confirm_within_s, body.restart_services)
    steps = agent.configuration.sync(body.sections, body.peers, wish)
    return await streamed(Job("local", "sync", body.by, steps).follow(ALIVE_S))


@router.post("/pull/diff")
async def pull_diff(agent: ThisAgent, body: PullDiffBody) -> dict[str, object]:
    """What a pull would change on this node; without sections, those changed on the peer."""
    found = await agent.configuration.puller.diff(body.sections, body.peer)
    return {"peers": {agent.name: found}}


@router.post("/pull", response_class=Lines)
async def pull(agent: ThisAgent, body: PullBody) -> Lines:
    """Take over what was changed on a peer; a line for each step."""
    wish = Wish(body.by, body.reason, body.force)
    steps = agent.configuration.pull(body.sections, body.peer, wish)
    return await streamed(Job("local", f"pull from {body.peer}", body.by, steps).follow(ALIVE_S))


@router.post("/confirm")
async def confirm(agent: ThisAgent, body: PeersBody) -> dict[str, object]:
    """Keep what waits to be confirmed, on these peers (all, if none is named) and on this node."""
    return await _on_all(agent.configuration, body, "confirm")


@router.post("/take-back")
async def take_back(agent: ThisAgent, body: PeersBody) -> dict[str, object]:
    """Put back what waits to be confirmed."""
    return await _on_all(agent.configuration, body, "take-back")


async def _on_all(configuration: Configuration, body: PeersBody, what: str) -> dict[str, object]:
    done = await configuration.on_peers(body.peers, what)
    return {"done": done}


@router.get("/history")
async def history(
    agent: ThisAgent,
    limit: Annotated[int, Field(ge=1, le=HISTORY_MAX)] = 20,
    section: Name | None = None,
) -> dict[str, object]:
    """Revisions of this node, newest first."""
    if section is not None:
        try:
            checked_section(section)
        except KernelError as error:  # whoever asks is wrong, not this machine
            raise CarpoolError(error.message, hint=error.hint) from error
    written = await agent.configuration.settled()
    found = await asyncio.to_thread(written.log, limit, section)
    return {"revisions": [asdict(one) for one in found]}


@router.get("/results")
async def results(
    agent: ThisAgent,
    limit: Annotated[int, Field(ge=1, le=HISTORY_MAX)] = 20,
    section: Name | None = None,
) -> dict[str, object]:
    """What came of synchronisations from this node, by peer and section, newest first."""
    rows = await asyncio.to_thread(agent.configuration.results.read, section)
    return {"results": rows[: -limit - 1 : -1]}


@router.get("/history/{revision}")
async def show(
    agent: ThisAgent, revision: Annotated[str, Field(max_length=64)]
) -> dict[str, object]:
    """One revision, and what it changed."""
    return await agent.configuration.show(revision)


@router.post("/rollback", response_class=Lines)
async def rollback(agent: ThisAgent, body: BackBody) -> Lines:
    """Make sections of this node what they were in a revision; a line for each step."""
    job = agent.configuration.rollback(body.revision, body.sections, by=body.by, force=body.force)
    return await streamed(job.follow(ALIVE_S))
