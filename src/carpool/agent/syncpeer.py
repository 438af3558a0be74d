"""What a peer may ask about configuration: a short list, and nothing else.

Room: agent. Each answer is for the peer whose certificate was shown; refuses to know TLS.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import Field

from carpool.agent.answers import WAITS_MAX_S, EntryBody, Name, Sha256, Strict, Words
from carpool.agent.asker import Asker, ThisAgent
from carpool.agent.bundle import CONTENTS_MAX_BYTES, in_thread, unbundle
from carpool.agent.doorman import takes
from carpool.agent.give import Taken
from carpool.agent.ndjson import Lines, streamed
from carpool.agent.receive import ENTRIES_MAX, Offer
from carpool.agent.waits import ALIVE_S
from carpool.api.tomlfile import FILE_MAX_BYTES
from carpool.errors import PeerError

SECTIONS_MAX = 256
OFFER_MAX_BYTES = 64 * 1024 * 1024  # an entry takes some 250 bytes
ASKED_MAX_BYTES = 16 * 1024 * 1024  # a digest takes 67 bytes


class OfferBody(Strict):
    by: Words
    reason: Words = ""
    devices: dict[Name, Name] = Field(default_factory=dict, max_length=256)
    token: Name = ""
    others: Annotated[tuple[Name, ...], Field(max_length=256)] = ()
    looking: bool = False
    group: Annotated[str, Field(max_length=FILE_MAX_BYTES)] = ""
    sections: Annotated[dict[Name, list[EntryBody]], Field(max_length=SECTIONS_MAX)]


class ApplyBody(Strict):
    force: bool = False
    confirm_within_s: Annotated[float | None, Field(gt=0, le=WAITS_MAX_S)] = None
    restart_services: bool = False


class AskedBody(Strict):
    section: Name
    sha256: Annotated[list[Sha256], Field(max_length=ENTRIES_MAX)]


class TakenBody(Strict):
    """Digests of what was pulled, and of what the one who pulled has instead of it."""

    pulled: Sha256
    source: Sha256


class AgreedBody(Strict):
    by: Words
    reason: Words = ""
    sections: Annotated[dict[Name, TakenBody], Field(max_length=SECTIONS_MAX)]


router = APIRouter(tags=["for peers"])


def named(peer: str | None) -> str:
    """This machine's own programs have no manifests to offer."""
    if peer is None:
        raise PeerError(
            "only a peer may ask this", hint="this machine's programs ask the same without /peer"
        )
    return peer


@router.get("/digests")
async def digests(agent: ThisAgent) -> dict[str, object]:
    """How this node stands: for the drift that a peer shows."""
    return await agent.configuration.digests()


@router.get("/sections/{name}")
async def section(agent: ThisAgent, peer: Asker, name: Name) -> dict[str, object]:
    """What this node has of a section: for a peer that pulls it."""
    named(peer)
    return await agent.configuration.giver.source(name)


@router.post("/contents")
@takes(ASKED_MAX_BYTES)
async def give(agent: ThisAgent, peer: Asker, body: AskedBody) -> StreamingResponse:
    """Contents of this section as it is now, in one stream (`bundle.py`)."""
    named(peer)
    files = await agent.configuration.giver.contents(body.section, body.sha256)
    return StreamingResponse(files, media_type="application/octet-stream")


@router.post("/agreed")
async def agreed(agent: ThisAgent, peer: Asker, body: AgreedBody) -> dict[str, object]:
    """The peer has what this node has: that is what counts from now on."""
    taken = {name: Taken(one.pulled, one.source) for name, one in body.sections.items()}
    await agent.configuration.giver.agree(named(peer), taken, by=body.by, reason=body.reason)
    return {"agreed": sorted(taken)}


@router.post("/sync")
@takes(OFFER_MAX_BYTES)
async def offer(agent: ThisAgent, peer: Asker, body: OfferBody) -> dict[str, object]:
    """Manifests of sections; the answer says which contents are missing here."""
    sections = {name: [one.entry() for one in rows] for name, rows in body.sections.items()}
    head = named(peer), body.by, body.reason, sections, body.devices, body.token, body.others
    return await agent.configuration.receiver.begin(Offer(*head, body.looking, body.group))


@router.put("/sync/{number}/contents")
@takes(CONTENTS_MAX_BYTES)
async def contents(
    request: Request, agent: ThisAgent, peer: Asker, number: Name
) -> dict[str, object]:
    """The contents that were missing, in one stream (`bundle.py`)."""
    receiver = agent.configuration.receiver
    receiver.owned(number, named(peer))
    count = 0

    def take(chunks: Iterator[bytes]) -> None:
        nonlocal count
        for sha256, _size, pieces in unbundle(chunks):
            receiver.put(number, sha256, pieces)
            count += 1

    await in_thread(request.stream(), take)
    return {"taken": count}


@router.get("/sync/{number}/diff")
async def diff(agent: ThisAgent, peer: Asker, number: Name) -> dict[str, object]:
    """What applying it would change here."""
    receiver = agent.configuration.receiver
    receiver.owned(number, named(peer))
    return await receiver.diff(number)


@router.post("/sync/{number}/apply", response_class=Lines)
async def apply(agent: ThisAgent, peer: Asker, number: Name, body: ApplyBody) -> Lines:
    """Do it; a line for each step. It goes on when nobody listens any more."""
    receiver = agent.configuration.receiver
    receiver.owned(number, named(peer))
    job = await receiver.apply(
        number,
        force=body.force,
        confirm_within_s=body.confirm_within_s,
        restart=body.restart_services,
    )
    return await streamed(job.follow(ALIVE_S))


@router.get("/sync/{number}/outcome")
async def outcome(agent: ThisAgent, peer: Asker, number: Name) -> dict[str, object]:
    """The last step so far of a transfer that was applied."""
    return dict(agent.configuration.receiver.outcome(number))


@router.post("/sync/{number}/abandon")
async def abandon(agent: ThisAgent, peer: Asker, number: Name) -> dict[str, object]:
    """The sender wants it no more; harmless when it is gone."""
    named(peer)
    agent.configuration.receiver.abandon(number)
    return {}


@router.post("/confirm")
async def confirm(agent: ThisAgent, peer: Asker) -> dict[str, object]:
    """Keep the change that waits for it."""
    named(peer)
    return {"kept": await agent.configuration.confirm()}


@router.post("/take-back")
async def take_back(agent: ThisAgent, peer: Asker) -> dict[str, object]:
    """Put the change back that waits to be confirmed."""
    named(peer)
    return {"undone": await agent.configuration.take_back()}
