"""What a peer may ask of the packages of this node: which could be updated, doing so while this
node is no MASTER, and how far that is.

Room: agent. A peer that is paired may write the configuration of this node, and with it anything;
which packages come is for the sources of this node to say.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from carpool.agent.answers import Answer, Short, Strict, Words
from carpool.agent.aptrun import LINE_MAX, PIECE_BYTES
from carpool.agent.asker import Asker, ThisAgent
from carpool.agent.syncpeer import named
from carpool.agent.updates import KEPT_MAX, NOTES_MAX
from carpool.machine.packages import PACKAGES_MAX

AT_MAX = 1 << 40
TEXT_MAX = 8000  # letters, of a failure

At = Annotated[int, Query(ge=0, le=AT_MAX)]
NoteAt = Annotated[int, Query(ge=0, le=NOTES_MAX)]
Line = Annotated[str, Field(max_length=LINE_MAX)]
Said = Annotated[str, Field(max_length=TEXT_MAX)]
Note = Annotated[str, Field(max_length=2000)]
File = Annotated[str, Field(max_length=1000)]


class UpdateBody(Strict):
    by: Words
    install: bool = True
    reboot: bool = False


class UpdateTold(Answer):
    """How far an update is; `number` is empty where there was none."""

    node: Short
    number: Short = ""
    by: Words = ""
    when: Short = Field(default="", description="it began, RFC 3339")
    install: bool = Field(default=True, description="false: it is rebooted only")
    phase: Short = Field(default="", description="installing, rebooting, verifying or ended")
    lines: list[Line] = Field(default_factory=list, max_length=PIECE_BYTES)
    at: int = Field(default=0, ge=0, le=AT_MAX, description="to go on from")
    notes: list[Note] = Field(default_factory=list, max_length=NOTES_MAX)
    kept: list[File] = Field(
        default_factory=list, max_length=KEPT_MAX, description="files that were changed here"
    )
    error: Said = ""
    hint: Said = ""
    version: Short = Field(default="", description="of carpool")


class PackageRow(Answer):
    name: Short
    old: Short = ""
    new: Short
    origins: list[Words] = Field(default_factory=list, max_length=64)
    security: bool = False


class PackagesTold(Answer):
    """What could be updated there."""

    node: Short
    packages: list[PackageRow] = Field(max_length=PACKAGES_MAX)
    left: list[Short] = Field(
        max_length=PACKAGES_MAX, description="held, or others would have to go for them"
    )
    lists_s: float | None = Field(description="how old the lists are; null: there are none")
    reboot: Words = Field(default="", description="why one is needed, or empty")
    masters: list[Short] = Field(default_factory=list, max_length=1000)
    last: UpdateTold


router = APIRouter(tags=["for peers"])


@router.get("/packages")
async def packages(agent: ThisAgent, peer: Asker) -> PackagesTold:
    """What apt would upgrade here, and how the last update went."""
    named(peer)
    return PackagesTold.model_validate(await agent.updates.packages(refresh=False))


@router.post("/packages/refresh")
async def refresh(agent: ThisAgent, peer: Asker) -> PackagesTold:
    """The same, after the lists were fetched."""
    named(peer)
    return PackagesTold.model_validate(await agent.updates.packages(refresh=True))


@router.post("/packages/update")
async def update(agent: ThisAgent, peer: Asker, body: UpdateBody) -> UpdateTold:
    """Begin to upgrade them, and to reboot if that is wished and needed; refused on a MASTER."""
    by = f"{body.by} on {named(peer)}"
    told = await agent.updates.begin(by, install=body.install, reboot=body.reboot)
    return UpdateTold.model_validate(told)


@router.get("/packages/update")
async def follow(agent: ThisAgent, peer: Asker, at: At = 0, notes: NoteAt = 0) -> UpdateTold:
    """How far it is, or how the last one went; what was said from this byte and note on."""
    named(peer)
    return UpdateTold.model_validate(await asyncio.to_thread(agent.updates.told, at, notes))
