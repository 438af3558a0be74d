"""Where the pages are to be, and with which certificate: what `carpool run web` asks.

Room: agent. Reads, as root, the files that [web] names; refuses to know who looks at the pages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field

from carpool.agent.agent import Agent
from carpool.agent.answers import Strict
from carpool.agent.asker import ThisAgent
from carpool.agent.deeds import by_of
from carpool.errors import CarpoolError
from carpool.kernel.links import device_facts
from carpool.kernel.pem import read_pair
from carpool.model.config import WEB_PORT, Address, Config, Web

router = APIRouter(tags=["this node"])


@router.get("/web")
async def web(agent: ThisAgent) -> dict[str, object]:
    """Where the pages are to be, as group.toml has it now: `addresses`, none without [web]; the
    user's own `certificate` and `key`, as PEM, or why they cannot be used (`error`)."""
    found = agent.config.group.web
    told: dict[str, object] = {"node": agent.name, "port": WEB_PORT, "addresses": []}
    if found is None:
        return told
    addresses = await asyncio.to_thread(_addresses, agent.config, found)
    told |= {"port": found.port, "addresses": [str(one) for one in addresses]}
    return told | await _certificate(agent, found)


class NoteBody(Strict):
    text: Annotated[str, Field(min_length=1, max_length=200)]


@router.post("/web/note")
async def note(agent: ThisAgent, request: Request, body: NoteBody) -> dict[str, object]:
    """What somebody did on the pages themselves, logging in for instance: for the events of this
    node and of its peers. The header `carpool-by` says who."""
    agent.deeds.note(by_of(request.scope) or "somebody", body.text)
    return {}


async def _certificate(agent: Agent, web: Web) -> dict[str, object]:
    if not web.certificate:
        return {}
    paths = [agent.root / path.lstrip("/") for path in (web.certificate, web.key)]
    try:
        certificate, key = await asyncio.to_thread(read_pair, *paths)
    except CarpoolError as error:
        return {"error": f"[web] of group.toml: {error.message}", "hint": error.hint}
    return {"certificate": certificate, "key": key}


def _addresses(config: Config, web: Web) -> list[Address]:
    """Each once; those that this node does not have now, too: VIPs come. Raises KernelError."""
    devices = {name: config.device(name) for name in web.interfaces}
    facts = device_facts(devices.values())
    found: set[Address] = set()
    for name, device in devices.items():
        found.update(config.node.addresses.get(name, ()))
        found.update(one.ip for one in facts[device].addresses)
        found.update(_vips(config, name))
    return sorted(_usable(found), key=lambda one: (one.version, int(one)))


def pages_of(config: Config) -> list[dict[str, object]]:
    """Where the pages of each node are when VIPs move: `name`, `address` and `port`."""
    web = config.group.web
    if web is None:
        return []
    vips = {one.ip for vip in config.group.vips for one in vip.addresses}
    found = [(config.node.name, one) for one in _addresses(config, web) if one not in vips]
    for peer in config.node.peers:
        for name in web.interfaces:
            found += [(peer.name, one) for one in _usable(peer.addresses.get(name, ()))]
    return [{"name": name, "address": str(one), "port": web.port} for name, one in found]


def _vips(config: Config, interface: str) -> Iterator[Address]:
    for vip in config.group.vips:
        if vip.interface == interface:
            yield from (one.ip for one in vip.addresses)


def _usable(addresses: Iterable[Address]) -> Iterator[Address]:
    """No browser gets to a link-local one: it takes a zone, which URLs have no room for."""
    return (one for one in addresses if not one.is_link_local)
