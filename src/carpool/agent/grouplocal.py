"""What the pages may ask to change in group.toml.

Room: agent. Over the unix sockets of this machine only. Bounds what is asked; refuses to know what
an edit does (`groupedits.py`).
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import Field, JsonValue

from carpool.agent import absence
from carpool.agent.answers import Name, Sha256, Strict, Words
from carpool.agent.asker import ThisAgent
from carpool.agent.deeds import by_of
from carpool.agent.doorman import SCOPE_WEB
from carpool.agent.groupedits import words
from carpool.agent.job import Job
from carpool.agent.ndjson import Lines, streamed
from carpool.agent.send import Wish
from carpool.agent.waits import ALIVE_S
from carpool.agent.weblocal import pages_of
from carpool.api import groupedit
from carpool.api.groupedit import Edit
from carpool.errors import PeerError

EDITS_MAX, KEYS_MAX, DEPTH_MAX, PEERS_MAX = 100, 100, 16, 256
WITHIN_MIN_S, WITHIN_MAX_S = 5.0, 3600.0

Key = Annotated[str, Field(max_length=256)]
Path = Annotated[list[Key | Annotated[int, Field(ge=0, lt=10_000)]], Field(max_length=DEPTH_MAX)]
Values = Annotated[dict[Key, JsonValue], Field(max_length=KEYS_MAX)]
Vip = Annotated[str, Field(max_length=100)]


class SetEdit(Strict):
    op: Literal["set"]
    path: Path
    value: JsonValue

    def edit(self) -> Edit:
        return groupedit.SetKey(tuple(self.path), self.value)


class RemoveEdit(Strict):
    op: Literal["remove"]
    path: Path

    def edit(self) -> Edit:
        return groupedit.RemoveKey(tuple(self.path))


class AddVipEdit(Strict):
    op: Literal["add_vip"]
    values: Values

    def edit(self) -> Edit:
        return groupedit.AddVip(self.values)


class ChangeVipEdit(Strict):
    """A value null removes its key; keys that are not named stay."""

    op: Literal["change_vip"]
    vip: Vip
    values: Values

    def edit(self) -> Edit:
        return groupedit.ChangeVip(self.vip, self.values)


class RemoveVipEdit(Strict):
    op: Literal["remove_vip"]
    vip: Vip

    def edit(self) -> Edit:
        return groupedit.RemoveVip(self.vip)


OneEdit = Annotated[
    SetEdit | RemoveEdit | AddVipEdit | ChangeVipEdit | RemoveVipEdit, Field(discriminator="op")
]


class EditsBody(Strict):
    """`digest` of the text that they were made for: GET /v1/group tells it."""

    digest: Sha256
    edits: Annotated[list[OneEdit], Field(max_length=EDITS_MAX)]

    def made(self, request: Request) -> list[Edit]:
        """Raises PeerError for what the pages may not have edited: sections name commands that root
        runs, and the process of the pages is not to become root by asking."""
        if request.scope.get(SCOPE_WEB):
            for one in self.edits:
                if isinstance(one, SetEdit | RemoveEdit) and one.path[:1] == ["section"]:
                    raise PeerError(
                        "[section.NAME] holds commands that root runs: the pages cannot change it",
                        hint="edit group.toml by hand, then `carpool apply`",
                    )
        return [one.edit() for one in self.edits]


class ApplyBody(EditsBody):
    confirm_within_s: Annotated[float, Field(ge=WITHIN_MIN_S, le=WITHIN_MAX_S)]
    by: Words = ""
    reason: Words = ""
    force: bool = False
    without: Annotated[tuple[Name, ...], Field(max_length=PEERS_MAX)] = ()


router = APIRouter(tags=["configuration"])


@router.get("/group")
async def group(agent: ThisAgent) -> dict[str, object]:
    """group.toml of this node: the `digest` of its text, its `values` (true in place of each
    password), and why it cannot be changed here now (`refused`)."""
    interfaces = dict(agent.config.node.interfaces)
    pages = await asyncio.to_thread(pages_of, agent.config)
    told = {"node": agent.name, "interfaces": interfaces, "pages": pages}
    return {**told, **await agent.edits.stand()}


@router.get("/group/away")
async def away(agent: ThisAgent) -> dict[str, object]:
    """By peer: whether it is away, so that group.toml may be changed without it; or `why` it does
    not answer and what `sign` there is of its machine. `age_s`: of what it told last, if known."""
    return {"peers": {name: one.told() for name, one in (await absence.look(agent)).items()}}


@router.post("/group/preview")
async def preview(agent: ThisAgent, request: Request, body: EditsBody) -> dict[str, object]:
    """What edits would make of group.toml: its `problems` as `carpool check` tells them, the diff,
    and what failover would do with it. Nothing is changed."""
    return await agent.edits.preview(body.made(request), body.digest)


@router.post("/group/apply", response_class=Lines)
async def apply(agent: ThisAgent, request: Request, body: ApplyBody) -> Lines:
    """Edit group.toml, here and on all peers, until it is confirmed; a line for each step. It goes
    on when nobody listens any more. What fails on one node is put back on all. Peers that it is to
    be done `without` must be away."""
    edits = body.made(request)
    by = by_of(request.scope) or body.by or "a program"
    alone = f" without {', '.join(body.without)}" if body.without else ""
    agent.deeds.note(by, f"changes group.toml{alone}: {words(edits)}")
    wish = Wish(by, body.reason, body.force, body.confirm_within_s, without=body.without)
    steps = agent.edits.apply(edits, body.digest, wish)
    return await streamed(Job("local", "edit of group.toml", by, steps).follow(ALIVE_S))
