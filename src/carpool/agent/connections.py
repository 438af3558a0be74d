"""Searches the connection table of this node, or of a peer, for who looks at it.

Room: agent. Bounded in entries and in time, one search at once: a table of millions keeps nobody
waiting. What is chosen and how an entry reads is `proto/ctline.py`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import product
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from carpool.agent.agent import Agent
from carpool.agent.answers import Answer, Name, Short, Strict, checked
from carpool.agent.asker import Asker, ThisAgent
from carpool.agent.send import PREFIX
from carpool.agent.syncpeer import named
from carpool.agent.waits import SEARCH_MAX_S, SEARCH_WAIT_S
from carpool.errors import CarpoolError
from carpool.kernel import clock
from carpool.kernel.conntrack import Dump
from carpool.proto import ctline
from carpool.proto import ctmessage as ct

FOUND_MAX = 500
ANSWER_MAX_BYTES = 1024 * 1024
ADDRESSES = ("orig.ip.src", "orig.ip.dst", "reply.ip.src", "reply.ip.dst")
PORTS = ("orig.proto.sport", "orig.proto.dport", "reply.proto.sport", "reply.proto.dport")


class Search(Strict):
    """What is looked for; all of it must be so. An address or a port may be anywhere."""

    address: Annotated[str, Field(max_length=64, description="or a network")] = ""
    port: Annotated[int | None, Field(ge=0, le=65535)] = None
    protocol: Annotated[str, Field(max_length=16, description="by name or number")] = ""
    state: Annotated[str, Field(max_length=32, description="ESTABLISHED...")] = ""


class Way(Answer):
    src: Short
    dst: Short
    sport: Annotated[int | None, Field(ge=0, le=65535)] = None
    dport: Annotated[int | None, Field(ge=0, le=65535)] = None
    packets: Annotated[int | None, Field(ge=0)] = None
    bytes: Annotated[int | None, Field(ge=0)] = None


class Connection(Answer):
    family: Short
    protocol: Annotated[int, Field(ge=0, le=255)]
    status: list[Short] = Field(max_length=16)
    state: Short | None = None
    timeout_s: Annotated[int | None, Field(ge=0)] = None
    mark: Annotated[int, Field(ge=0)] = 0
    orig: Way
    reply: Way


class Connections(Answer):
    node: Short
    found: list[Connection] = Field(max_length=FOUND_MAX)
    looked_at: Annotated[int, Field(ge=0)]
    whole: bool = Field(description="false: there was no time or no room for the rest of the table")


router = APIRouter(tags=["this node"])
peer_router = APIRouter(tags=["for peers"])


@router.get("/connections")
async def connections(agent: ThisAgent, search: Annotated[Search, Query()]) -> Connections:
    """Up to 500 entries of the connection table here."""
    return await look(agent, search)


@router.get("/connections/{peer}")
async def of_peer(agent: ThisAgent, peer: Name, search: Annotated[Search, Query()]) -> Connections:
    """The same of a peer's."""
    params = {key: str(value) for key, value in search.model_dump(exclude_defaults=True).items()}
    client = agent.configuration.sender.peer(peer)
    answer = await client.get(
        f"{PREFIX}/connections", params, timeout_s=SEARCH_WAIT_S, max_bytes=ANSWER_MAX_BYTES
    )
    return checked(Connections, answer, peer)


@peer_router.get("/connections")
async def for_peer(
    agent: ThisAgent, peer: Asker, search: Annotated[Search, Query()]
) -> Connections:
    """Up to 500 entries of the connection table here, which a peer has by replication anyway."""
    named(peer)
    return await look(agent, search)


async def look(agent: Agent, search: Search) -> Connections:
    """Raises CarpoolError for what cannot be looked for, and KernelError."""
    choice = wanted(search)
    if agent.searching.locked():
        raise CarpoolError(
            "another search of this table is under way", hint="try again in some seconds"
        )
    async with agent.searching:
        found, count, whole = await asyncio.to_thread(_search, choice)
    rows = [Connection.model_validate(json.loads(line)) for line in found]
    return Connections(node=agent.name, found=rows, looked_at=count, whole=whole)


def wanted(search: Search) -> list[ctline.Wanted]:
    """One of these has to fit. Raises CarpoolError."""
    protocol = _protocol(search.protocol) if search.protocol else None
    state = search.state.upper()
    if state and state not in ctline.STATES:
        names = ", ".join(sorted(ctline.STATES))
        raise CarpoolError(f"{search.state!r} is no state", hint=f"one of {names}")
    network = _network(search.address) if search.address else None
    family = None
    addresses: list[tuple[tuple[str, int, int], ...]] = [()]
    if network is not None:
        family = ct.AF_INET if network.version == 4 else ct.AF_INET6
        value = int(network.netmask), int(network.network_address)
        addresses = [((name, *value),) for name in ADDRESSES]
    ports: list[tuple[tuple[str, int, int], ...]] = [()]
    if search.port is not None:
        ports = [((name, 0xFFFF, search.port),) for name in PORTS]
    return [
        ctline.Wanted(
            family=family, protocol=protocol, state=state or None, values=(*address, *port)
        )
        for address, port in product(addresses, ports)
    ]


def _protocol(text: str) -> int:
    known = ctline.PROTOCOLS.get(text.lower())
    if known is not None:
        return known
    if text.isascii() and text.isdigit() and int(text) <= 255:
        return int(text)
    raise CarpoolError(
        f"{text!r} is no protocol", hint=f"a number up to 255, or {', '.join(ctline.PROTOCOLS)}"
    )


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text, strict=False)
    except ValueError as error:
        raise CarpoolError(
            f"{text!r} is no address and no network", hint="192.0.2.7, 192.0.2.0/24, 2001:db8::/32"
        ) from error


def _search(choice: list[ctline.Wanted]) -> tuple[list[str], int, bool]:
    """Entries as JSON, how many were looked at, and whether that was all."""
    until_s = clock.monotonic_s() + SEARCH_MAX_S
    lines = [ctline.Lines(one, json=True) for one in choice]
    found: list[str] = []
    count = 0
    for piece in _pieces(choice[0].family):
        for message in piece:
            count += 1
            line = next((text for one in lines if (text := one.line(message))), None)
            if line is None:
                continue
            if len(found) == FOUND_MAX:
                return found, count, False
            found.append(line)
        if clock.monotonic_s() > until_s:
            return found, count, False
    return found, count, True


def _pieces(family: int | None) -> Iterator[list[bytes]]:
    dump = Dump(family or ct.AF_UNSPEC, None)
    try:
        while (piece := dump.read()) is not None:
            yield piece
    finally:
        dump.close()
