"""What the Backup page shows of nodes, their services and how their sections stand.

Room: web. Pure: answers of the agent in, words out. It believes no answer: most of it is a peer's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from carpool.api import renderservices
from carpool.api.clean import clean
from carpool.api.render import (
    Fields,
    entries_of,
    fields_of,
    number_of,
    text_of,
    waits_there,
    words_of,
)
from carpool.model.section import Drift

SERVICES_MAX = 500  # that a page shows of a node
TONES: dict[str, str] = {
    Drift.IN_SYNC: "good",
    Drift.AHEAD: "calm",
    Drift.DIFFERS: "warn",
    Drift.UNKNOWN: "warn",
}
NEVER = "never synchronised from this node"


@dataclass(frozen=True, slots=True)
class Node:
    """One that may be chosen."""

    name: str
    here: bool
    error: str  # why it does not answer; "" if it does
    hint: str
    version: str


@dataclass(frozen=True, slots=True)
class Service:
    """A row of its table."""

    name: str
    state: str
    tone: str
    sections: str
    since: str
    memory: str
    at_boot: str
    runs_on: str
    moved: str
    actions: Sequence[str]  # that make sense now


@dataclass(frozen=True, slots=True)
class Standing:
    """How a section on a peer stands to ours."""

    section: str
    drift: str
    tone: str
    since: str
    why: str


def nodes_of(answer: Fields) -> list[Node]:
    """Of GET /v1/nodes."""
    return [
        Node(
            text_of(one, "name"),
            one.get("here") is True,
            text_of(one, "error"),
            text_of(one, "hint"),
            text_of(one, "version"),
        )
        for one in entries_of(answer, "nodes")
    ]


def chosen(nodes: Sequence[Node], wanted: str) -> Node | None:
    """The node of this name, or else the first peer, or this node."""
    named = [one for one in nodes if one.name == wanted]
    peers = [one for one in nodes if not one.here]
    return next(iter([*named, *peers, *nodes]), None)


def other_version(nodes: Sequence[Node], node: Node) -> str:
    """That of this node, where the other has another one."""
    own = next((one.version for one in nodes if one.here), "")
    return own if own and node.version and node.version != own else ""


def services_of(answer: Fields) -> list[Service]:
    """Of GET /v1/services."""
    return [_service(row) for row in entries_of(answer, "services")[:SERVICES_MAX]]


def _service(row: Fields) -> Service:
    active = row.get("active") is True
    failed = not active and text_of(row, "sub") == "failed"
    moved = renderservices.moved(row)
    return Service(
        name=text_of(row, "name"),
        state=renderservices.state(row).plain,
        tone="good" if active else "bad" if failed else "calm",
        sections=", ".join(words_of(row, "sections")),
        since=moment(text_of(row, "since")),
        memory=_said(renderservices.memory(row)),
        at_boot=_said(renderservices.at_boot(row)),
        runs_on=renderservices.runs_on(row),
        moved="" if moved is None else moved.plain,
        actions=("restart", "reload", "stop") if active else ("start",),
    )


def acted(answer: Fields) -> str:
    """What became of a service: as `carpool services restart` says it."""
    return renderservices.service(answer).plain


def standings_of(answer: Fields, peer: str) -> list[Standing]:
    """Of GET /v1/drift."""
    stands = fields_of(fields_of(answer, "peers"), peer)
    return [
        Standing(
            clean(name[:100]),
            text_of(one, "drift"),
            TONES.get(text_of(one, "drift"), "warn"),
            moment(text_of(one, "since")),
            text_of(one, "why") or (NEVER if text_of(one, "drift") == Drift.UNKNOWN else ""),
        )
        for name in stands
        if (one := fields_of(stands, name))
    ]


def waiting_on(answer: Fields, peer: str) -> str:
    """What waits there to be confirmed, in a sentence; "" for nothing."""
    row = fields_of(fields_of(answer, "waiting_on"), peer)
    return waits_there(row) if row else ""


def waiting_here(answer: Fields) -> str:
    row = fields_of(answer, "waiting")
    if not row:
        return ""
    left = int(number_of(row, "left_s"))
    return f"{text_of(row, 'what')} of {text_of(row, 'by')} is put back in {left} s"


def moment(text: str) -> str:
    """`2026-11-23 05:41:21`, of what RFC 3339 writes."""
    return text[:19].replace("T", " ")


def _said(text: str) -> str:
    return "" if text == renderservices.NOTHING else text
