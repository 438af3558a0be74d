"""Watches the group for who is to be told of it: what alerts.toml says, and when.

Room: agent. What is told decides `machine/alerts.py`, how it gets there is alertpost.py's. Costs
nothing while there is no target: nobody is asked.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from carpool.agent.alertpost import Post, Row
from carpool.agent.answers import NodeState
from carpool.agent.client import PeerClient
from carpool.agent.schedule import ScheduleKeeper
from carpool.agent.scriptlog import Clocks, event_of
from carpool.agent.scriptrun import Runner
from carpool.agent.watched import NODE_MAX_BYTES, PEER_PATH
from carpool.api import control
from carpool.api.alertsfile import load_alerts
from carpool.errors import CarpoolError
from carpool.kernel.journal import Journal, say
from carpool.machine.alerts import Judge, Vip
from carpool.machine.alertview import view_of, vips_of
from carpool.machine.bucket import Bucket
from carpool.machine.schedule import ALERTS as SYNC_FAILED
from carpool.model.alerts import ALERTS_FILE, Alerts, Level, Message
from carpool.model.config import Config

KIND = "alert"  # of the events
EVERY_S = 1.0  # this node
GROUP_EVERY_S = 5.0
PEER_WAIT_S = 1.5
MEMORY = "alerts.json"  # in the run directory: what was told, for the next agent of this boot
TRIES_PER_S, TRIES_BURST = 0.1, 6  # by hand: nobody makes a flood of it

State = Callable[[], Awaitable[NodeState]]


class Node(Protocol):
    """The agent, as far as this file goes."""

    config: Config
    peers: dict[str, PeerClient]
    schedule: ScheduleKeeper | None
    now_s: Callable[[], float]

    async def status(self, process: str) -> control.Answer | CarpoolError | None: ...


class AlertKeeper:
    """One for each agent."""

    def __init__(
        self,
        node: Node,
        directories: tuple[Path, Path],
        runner: Runner,
        journal: Journal,
        clocks: Clocks,
        post: Post | None = None,
    ) -> None:
        """`directories`: of the configuration, and of what is for this boot."""
        self._node = node
        self._file = directories[0] / ALERTS_FILE
        self._memory_file = directories[1] / MEMORY
        self._journal = journal
        self._clocks = clocks
        self._post = post or Post(runner, self._tell, clocks.wall_iso)
        self._alerts = Alerts()
        self._problems: list[str] = []
        self._read_as: object = ()
        self._judge: Judge | None = None
        self._written: object = None
        self._look_s = 0.0
        self._tries = Bucket(TRIES_PER_S, TRIES_BURST, clocks.now_s())

    async def run(self, own: State) -> None:
        """Until it is cancelled. `own`: what this node says of itself."""
        try:
            while True:
                await self.read()
                if self._alerts.targets:
                    await self._turn(own)
                else:
                    self._judge = None
                await asyncio.sleep(EVERY_S)
        finally:
            self._post.close()

    @property
    def count(self) -> int | None:
        """Of targets; None before the file was read."""
        return None if self._read_as == () else len(self._alerts.targets)

    async def read(self) -> None:
        """The file, when it is another one than before."""
        read_as = await asyncio.to_thread(_looks, self._file)
        if read_as == self._read_as:
            return
        self._read_as = read_as
        self._alerts, problems = await asyncio.to_thread(load_alerts, self._file.parent)
        self._problems = [str(one) for one in problems]
        for problem in self._problems:
            say(f"agent: {problem}")
        self._post.meet(self._alerts.targets.values())

    async def _turn(self, own: State) -> None:
        if self._judge is None:
            config = self._node.config
            told = await asyncio.to_thread(_recall, self._memory_file)
            self._judge = Judge(config.node.name, config.group.name, told)
        judge, per_hour = self._judge, self._alerts.per_hour
        judge.hear(await self._vips(), self._clocks.wall_iso()[:19] + "Z", self._clocks.now_s())
        messages: list[Message] = []
        if judge.is_whole(self._clocks.now_s()):
            view = view_of(await self._nodes(own), self._sync_failed())
            messages = judge.failover(view, per_hour, self._clocks.now_s())
        elif self._clocks.now_s() >= self._look_s:
            self._look_s = self._clocks.now_s() + GROUP_EVERY_S
            view = view_of(await self._nodes(own), self._sync_failed())
            messages = judge.look(view, per_hour, self._clocks.now_s())
        for message in messages:
            self._post.offer(message)
        await self._remember(judge)

    async def _vips(self) -> Mapping[str, Vip]:
        found = await self._node.status(control.FAILOVER)
        return vips_of(found) if isinstance(found, Mapping) else {}

    async def _nodes(self, own: State) -> list[Mapping[str, object]]:
        """This one first, as GET /v1/nodes has them."""
        peers = asyncio.gather(*(_ask(peer) for peer in self._node.peers.values()))
        here, others = await asyncio.gather(own(), peers)
        return [{**here.model_dump(), "error": "", "hint": ""}, *others]

    def _sync_failed(self) -> str:
        told = self._node.schedule.told() if self._node.schedule is not None else {}
        failed = told.get("state") in SYNC_FAILED
        return f"scheduled sync {told['state']}: {told['why']}" if failed else ""

    async def _remember(self, judge: Judge) -> None:
        memory = judge.memory()
        if memory != self._written:
            self._written = memory
            await asyncio.to_thread(_keep, self._memory_file, json.dumps(memory))

    def _tell(self, text: str) -> None:
        say(f"agent: {KIND} {text}")
        self._journal.add(event_of(KIND, text, self._clocks))

    # -------------------------------------------------------------------------------- asked

    async def told(self) -> dict[str, object]:
        """For `carpool alerts`."""
        await self.read()
        return {
            "file": str(self._file),
            "per_hour": self._alerts.per_hour,
            "alerts": self._post.rows(),
            "problems": self._problems,
        }

    async def attempt(self, name: str | None) -> list[Row]:
        """Send each target, or this one, a message that is a try. Raises CarpoolError."""
        await self.read()
        names = list(self._alerts.targets) if name is None else [name]
        if not names:
            raise CarpoolError(
                f"nobody is told anything: there is no target in {self._file}",
                hint="alerts.toml(5) shows one",
            )
        if name is not None and name not in self._alerts.targets:
            known = ", ".join(self._alerts.targets) or "none"
            raise CarpoolError(f"there is no target {name!r}", hint=f"there is {known}")
        if not self._tries.take(self._clocks.now_s()):
            raise CarpoolError("too many tries within a minute", hint="wait ten seconds")
        node, group = self._node.config.node.name, self._node.config.group.name
        message = Message(
            None,
            Level.INFO,
            f"[{group}] a try from {node}",
            f"{node} can tell you of the group {group}: nothing has happened.\n\nTold by {node}.",
        )
        return list(await asyncio.gather(*(self._post.attempt(one, message) for one in names)))


async def _ask(peer: PeerClient) -> Mapping[str, object]:
    error, hint, found = "", "", NodeState.unknown(peer.name)
    try:
        answer = await peer.get(PEER_PATH, timeout_s=PEER_WAIT_S, max_bytes=NODE_MAX_BYTES)
        found = NodeState.model_validate(answer).model_dump()
    except CarpoolError as refused:
        error, hint = refused.message, refused.hint
    except ValidationError as mistake:
        error = f"what it says of itself: {mistake.errors()[0]['msg']}"
    return {**found, "name": peer.name, "error": error, "hint": hint}


def _looks(file: Path) -> object:
    try:
        stat = file.stat()
    except OSError as error:
        return error.errno
    return stat.st_mtime_ns, stat.st_ino, stat.st_size, stat.st_mode


def _recall(file: Path) -> list[tuple[str, str]]:
    """A file that is missing or damaged says nothing."""
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        return [(str(kind), str(text)) for kind, text in rows]
    except (OSError, ValueError, TypeError):
        return []


def _keep(file: Path, text: str) -> None:
    new = file.with_name(f".{file.name}")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        new.replace(file)
    except OSError as error:
        say(f"agent: {file}: {error.strerror}; the next agent may tell the same again")
