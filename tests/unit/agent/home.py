"""Agents of this process, on loopback, with real keys: two nodes of one group."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from carpool.agent.agent import Agent
from carpool.agent.app import build
from carpool.agent.doorman import SCOPE_PEER
from carpool.agent.listeners import Listeners
from carpool.api.identity import introduce
from carpool.kernel.clock import monotonic_s
from carpool.model.config import Config, Group, Node, Peer
from carpool.model.section import Sync
from tests import ports

ADDRESSES = {"fw1": "127.0.0.11", "fw2": "127.0.0.12"}
WAIT_S = 20.0
WEB = """
[section.web]
paths = ["/etc/web/"]
[section.other]
paths = ["/etc/other.conf"]
"""


def free_port() -> int:
    return ports.free_port(ADDRESSES.values())


def config_of(name: str, port: int | None, addresses: Mapping[str, str] = ADDRESSES) -> Config:
    """Of a node whose peers are all others of these."""
    own = {"sync": (ip_address(addresses[name]),)}
    peers = tuple(
        Peer(other, {"sync": (ip_address(address),)})
        for other, address in addresses.items()
        if other != name
    )
    sync = None if port is None else Sync("sync", port=port)
    return Config(
        Node(name, {"sync": "lo"}, addresses=own, peers=peers), Group("test", (), sync=sync)
    )


def agent_of(directory: Path, name: str = "fw1", port: int | None = None) -> Agent:
    home = directory / name
    home.mkdir(exist_ok=True)
    return Agent(config_of(name, port), config_dir=home, run_dir=home, state_dir=home)


def pair_of(directory: Path) -> tuple[Agent, Agent]:
    """fw1 and fw2, paired."""
    port = free_port()
    made = agent_of(directory, "fw1", port), agent_of(directory, "fw2", port)
    introduce({name: directory / name for name in ADDRESSES})
    return made


def rooted_pair(directory: Path, schedule: str = "") -> tuple[Agent, Agent]:
    """The same, each with a root of its own and a section `web` that is synchronised."""
    port = free_port()
    made: list[Agent] = []
    homes: dict[str, Path] = {}
    for name in ADDRESSES:
        root = directory / name
        homes[name] = root / "etc/carpool"
        homes[name].mkdir(parents=True)
        (root / "etc/web").mkdir()
        group_file = homes[name] / "group.toml"
        group_file.write_text(WEB)
        group_file.chmod(0o600)  # as the section has it: nothing of it is to be synchronised here
        config = config_of(name, port)
        group = replace(config.group, sync=Sync("sync", ("web",), port, schedule))
        made.append(
            Agent(
                replace(config, group=group),
                config_dir=homes[name],
                run_dir=root,
                state_dir=root / "state",
                root=root,
            )
        )
    introduce(homes)
    return made[0], made[1]


@asynccontextmanager
async def serving(
    agent: Agent, app: ASGIApp | None = None, pages_group: str = "nobody-has-it"
) -> AsyncIterator[Listeners]:
    listeners = Listeners(agent, app or build(agent), pages_group)
    await listeners.claim()
    task: asyncio.Task[None] | None = None
    try:
        await listeners.open()
        task = asyncio.create_task(listeners.serve())
        yield listeners
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await listeners.close(wait_s=0.1)
        await agent.close()


def asked_by(app: ASGIApp, peer: str | None) -> ASGIApp:
    """The application as a listener serves it to somebody."""

    async def introduced(scope: Scope, receive: Receive, send: Send) -> None:
        scope[SCOPE_PEER] = peer
        await app(scope, receive, send)

    return introduced


async def until(predicate: Callable[[], object], what: str) -> None:
    """Wait for a condition in this loop."""
    deadline_s = monotonic_s() + WAIT_S
    while not predicate():
        assert monotonic_s() < deadline_s, f"not within {WAIT_S:g} s: {what}"
        await asyncio.sleep(0.005)


@asynccontextmanager
async def failover(
    run_dir: Path, asked: list[object], *, dies: bool = False, name: str = "failover"
) -> AsyncIterator[None]:
    """Something that answers as the failover process does in the middle of a change, or that dies
    of what it is asked and is there again."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = json.loads(await reader.readline())
        asked.append(request["command"])
        asked.extend(["force"] if request.get("force") else [])
        told: dict[str, object] = {"ok": True, "vhosts": [], "restarts": ["[states] port"]}
        told |= {"group_digest": "0" * 64, "change": {"changes": []}}
        if not dies:
            writer.write(json.dumps(told).encode() + b"\n")
        writer.close()

    server = await asyncio.start_unix_server(answer, run_dir / f"{name}.sock")
    async with server:
        yield
