"""Synchronises when `[sync] schedule` says so, and remembers how that went.

Room: agent. What is due, missed or another node's business, `machine/schedule.py` decides; what a
run does is `carpool sync` of everything, and nothing is forced.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Protocol, Self

from carpool.agent.configuration import Configuration
from carpool.agent.job import Job
from carpool.agent.record import write_whole
from carpool.agent.send import Wish
from carpool.errors import KernelError
from carpool.kernel import clock, zone
from carpool.kernel.journal import say
from carpool.machine.schedule import ALERTS, Memory, Schedule, State
from carpool.model.config import Config

LOOK_S = 10.0  # the clock may be set meanwhile
AGAIN_S = 1.0  # it is due, and this node may yet become the primary
WISH = Wish("schedule", "scheduled")


class Node(Protocol):
    """The agent, as far as this file goes."""

    config: Config
    configuration: Configuration
    now_s: Callable[[], float]
    state_dir: Path

    async def roles(self) -> dict[str, str]:
        """Role by VIP, of those whose link is up; empty when failover does not answer."""


class ScheduleKeeper:
    """One for each agent with a schedule."""

    def __init__(self, node: Node, expression: str, jitter_s: float, file: Path) -> None:
        self._node = node
        self.timing = expression, jitter_s
        self._at_work = asyncio.Lock()
        self._file = file
        self._written = _read(file)
        memory = Schedule.recall(self._written, expression, _wall_s())
        self._schedule = Schedule(memory, jitter_s, zone, random.random, node.now_s())

    @classmethod
    def of(cls, node: Node) -> Self | None:
        """None without a schedule: then what is remembered of one is forgotten, or it would have
        missed all that was due until there is one again."""
        sync = node.config.group.sync
        file = node.state_dir / "sync" / "schedule.json"
        if sync is not None and sync.schedule:
            return cls(node, sync.schedule, sync.schedule_jitter_s, file)
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            say(f"agent: remove {file}: {error.strerror}")
        return None

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            self._notice()
            await self._keep()
            await asyncio.sleep(await self._turn())

    @property
    def running(self) -> bool:
        return self._schedule.memory.running

    async def between_runs(self) -> None:
        """Until none is under way, and what came of it is on the disk. One begins no sooner than
        the caller waits for something else."""
        async with self._at_work:
            pass

    def told(self) -> dict[str, object]:
        """How it stands; times are seconds since 1970, `ago_s` those since it stands so."""
        self._notice()
        memory, wall_s = self._schedule.memory, _wall_s()
        ago_s = None if memory.since_s is None else max(0.0, wall_s - memory.since_s)
        return {
            "expression": self.timing[0],
            "jitter_s": self.timing[1],
            "state": memory.state,
            "why": memory.why,
            "running": memory.running,
            "ago_s": ago_s,
            "next_unix_s": self._schedule.next_s(wall_s),
            "run_unix_s": memory.run_s,
            "success_unix_s": memory.success_s,
        }

    async def _turn(self) -> float:
        """Do what is due; how long there is nothing to do."""
        due = self._schedule.look(_wall_s(), self._node.now_s())
        if due is None:
            return LOOK_S
        wait_s = due.begin_s - _wall_s()
        if wait_s > 0:
            return min(wait_s, LOOK_S)
        before = self._schedule.memory
        roles = await self._node.roles()
        async with self._at_work:
            if self._schedule.take(due, roles, _wall_s(), self._node.now_s()):
                await self._keep()
                self._schedule.ended(await self._synchronise(), _wall_s())
                await self._keep()
            elif self._schedule.memory is before:
                return AGAIN_S
        memory = self._schedule.memory
        if memory.state in ALERTS and (memory.state, memory.why) != (before.state, before.why):
            say(f"agent: scheduled sync {memory.state}: {memory.why}")
        return 0.0

    async def _synchronise(self) -> str:
        """All sections with all peers; why it failed, or ""."""
        steps = self._node.configuration.sync((), (), WISH)
        failed: list[str] = []
        async for event in Job("schedule", "sync", WISH.by, steps).follow():
            if event.get("step") == "end" and "error" in event:
                peer, error = str(event.get("peer", "")), str(event["error"])
                failed.append(error if peer in error else f"{peer}: {error}")
        return "; ".join(failed)

    def _notice(self) -> None:
        """What somebody synchronised by hand."""
        complete_s = self._node.configuration.complete_s
        if complete_s is not None:
            self._schedule.synchronised(complete_s)

    async def _keep(self) -> None:
        """On the disk, when it is new. What cannot be written is told, and hinders nothing."""
        memory = self._schedule.memory
        if memory == self._written:
            return
        self._written = memory
        try:
            await asyncio.to_thread(write_whole, self._file, asdict(memory))
        except KernelError as error:
            say(f"agent: {error.message}")


def _read(file: Path) -> Memory | None:
    """A file that is missing or damaged says nothing."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, OverflowError):
        fields = json.loads(file.read_text(encoding="utf-8"))
        zone.civil(float(fields["until_s"]))  # it is a time
        numbers = {
            key: None if fields[key] is None else float(fields[key])
            for key in ("since_s", "run_s", "success_s")
        }
        return Memory(
            str(fields["schedule"]),
            float(fields["until_s"]),
            State(fields["state"]),
            str(fields["why"]),
            running=bool(fields["running"]),
            **numbers,
        )
    return None


def _wall_s() -> float:
    return clock.wall_us() / 1e6
