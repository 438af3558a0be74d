"""Runs the hooks of this node on transitions: all of them at once, each serially with itself.

Room: agent. What moved is `machine/moves.py`'s, what waits `machine/hookqueue.py`'s, how a program
is run `scriptrun.py`'s. Nothing waits for a hook: neither failover nor other hooks.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from carpool.agent.scriptlog import Clocks, Row, ScriptLog
from carpool.agent.scriptrun import Call, Ran, Runner
from carpool.agent.watch import Heard, Told, watch
from carpool.api.clean import clean
from carpool.errors import CarpoolError
from carpool.kernel.journal import Journal
from carpool.machine.hookdocument import (
    START,
    TRANSITION,
    TRY,
    Event,
    arguments,
    document,
    environment,
)
from carpool.machine.hookqueue import HookQueue
from carpool.machine.moves import GROUP, Move, Moves
from carpool.model.config import Config
from carpool.model.scripts import HOOKS_DIR

RETRY_S = 0.25  # until failover is asked again whether it is there


@dataclass(slots=True)
class _Hook:
    """One of them, as far as this agent remembers it."""

    queue: HookQueue[Event] = field(default_factory=HookQueue)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    last: Row | None = None
    runs: Counter[str] = field(default_factory=Counter)


class HookKeeper:
    """`config` tells what counts now; hooks are below `config_dir`."""

    def __init__(
        self,
        config: Callable[[], Config],
        config_dir: Path,
        failover: Path,
        runner: Runner,
        journal: Journal,
        clocks: Clocks,
        on_heard: Callable[[Told], None],
    ) -> None:
        """`on_heard`: for who wants to hear failover, too."""
        self._config = config
        self._directory = (config_dir / HOOKS_DIR).absolute()
        self._failover = failover
        self._runner = runner
        self._log = ScriptLog("hook", self._directory, journal, clocks)
        self._clocks = clocks
        self._on_heard = on_heard
        self._moves = Moves(clocks.now_s())
        self._role = ""
        self._states: dict[str, str] = {}
        self._hooks: dict[str, _Hook] = {}
        self._sequence = 0
        self._news = asyncio.Event()
        for told in self._log.earlier():
            self._hook(str(told.get("name"))).last = told

    # --------------------------------------------------------------------------------- loop

    async def run(self) -> None:
        """Until it is cancelled: then what runs is ended with us, where we ran it ourselves."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            while True:
                await self._wait()
                moves = self._moves.due(self._clocks.now_s())
                if moves:
                    await self._give(moves, tasks)

    async def _wait(self) -> None:
        """For news, those that came meanwhile too, or until something is due."""
        deadline_s = self._moves.deadline_s
        left_s = None if deadline_s is None else max(deadline_s - self._clocks.now_s(), 0.0)
        try:
            async with asyncio.timeout(left_s):
                await self._news.wait()
        except TimeoutError:
            pass
        self._news.clear()

    async def _listen(self) -> None:
        while True:
            async for told in watch(self._failover, moves=True):
                self._on_heard(told)
                heard = told.moves or Heard("MASTER" if told.master else "BACKUP", {}, False)
                self._moves.heard(heard.role, heard.vips, heard.whole, self._clocks.now_s())
                self._role = heard.role
                self._states = {} if heard.whole else self._states
                self._states |= {vip: state for vip, (state, _) in heard.vips.items()}
                self._news.set()
            self._moves.lost(self._clocks.now_s())
            self._news.set()
            await asyncio.sleep(RETRY_S)

    async def _give(self, moves: list[Move], tasks: asyncio.TaskGroup) -> None:
        """To every hook that wants them; what runs already takes them up afterwards."""
        names = await self.look()
        for move in moves:
            event = self._event(move, START if move.old is None else TRANSITION)
            for name in names:
                if event.kind in self._config().group.hooks.of(name).events:
                    self._hook(name).queue.offer(event)
        for name in names:
            if len(self._hook(name).queue) and not self._hook(name).queue.running:
                tasks.create_task(self._work(name))

    def _event(self, move: Move, event: str) -> Event:
        self._sequence += 1
        is_group = move.subject == GROUP
        return Event(
            event,
            move,
            role=move.new if is_group else self._role,
            states=dict(self._states),
            time=self._clocks.wall_iso(),
            monotonic_s=self._clocks.now_s(),
            sequence=self._sequence,
        )

    async def _work(self, name: str) -> None:
        """All that waits for one hook."""
        hook = self._hook(name)
        while (job := hook.queue.take()) is not None:
            try:
                async with hook.turn:
                    await self._run(name, job.what, job.overtaken)
            finally:
                hook.queue.ended()

    async def _run(self, name: str, event: Event, overtaken: int = 0) -> Row:
        """Once, and tell how it went."""
        config = self._config()
        told = json.dumps(document(event, config, overtaken)).encode() + b"\n"
        said = {key: clean(value) for key, value in environment(event, config).items()}
        ran = await self._runner.run(
            Call(
                f"carpool-hook-{name}",
                (str(self._directory / name), *arguments(event)),
                said,
                told,
                config.group.hooks.of(name).timeout_s,
            )
        )
        return self._told(name, event, ran, overtaken)

    def _told(self, name: str, event: Event, ran: Ran, overtaken: int) -> Row:
        row: Row = {
            "name": name,
            "time": event.time,
            "event": event.event,
            "subject": event.subject,
            "from": event.move.old,
            "to": event.move.new,
            "overtaken": overtaken,
            "ok": ran.ok,
            "status": ran.status,
            "result": ran.words,
            "took_s": round(ran.took_s, 3),
            "last_line": ran.last_line,
        }
        hook = self._hook(name)
        hook.last = row
        hook.runs["ok" if ran.ok else "failed"] += 1
        what = f"{name}, {event.subject} {event.move.new}"
        text = f"{what}: {ran.words} after {ran.took_s:.2f} s"
        self._log.record(f"{text}: {ran.last_line}" if ran.last_line else text, row)
        return row

    def _hook(self, name: str) -> _Hook:
        return self._hooks.setdefault(name, _Hook())

    # -------------------------------------------------------------------------------- asked

    async def look(self) -> list[str]:
        """The hooks that there are now."""
        names = await self._log.look()
        for gone in [one for one in self._hooks if one not in names]:
            if not self._hooks[gone].queue.running:
                del self._hooks[gone]
        return names

    async def rows(self) -> Mapping[str, object]:
        """For `carpool hooks`."""
        return self._log.about([self._row(name) for name in await self.look()])

    def _row(self, name: str) -> Row:
        hook, settings = self._hook(name), self._config().group.hooks.of(name)
        return {
            "name": name,
            "events": [str(kind) for kind in settings.events],
            "timeout_s": settings.timeout_s,
            "running": hook.turn.locked(),
            "waiting": len(hook.queue),
            "runs": {result: hook.runs[result] for result in ("ok", "failed")},
            "last": hook.last,
        }

    async def try_one(self, name: str, role: str, vip: str | None) -> Row:
        """Run it now, as if the group (or a VIP, `51@lan`) took this role. Raises CarpoolError."""
        if name not in await self.look():
            raise CarpoolError(
                f"there is no hook {name!r} in {self._directory}", hint="`carpool hooks` lists them"
            )
        vips = [str(one.key) for one in self._config().group.vips]
        if vip is not None and vip not in vips:
            raise CarpoolError(f"there is no VIP {vip!r}", hint=f"one of {', '.join(vips)}")
        subject = vip or GROUP
        old = self._states.get(subject) if vip else self._role
        event = self._event(Move(subject, old or None, role, "by hand"), TRY)
        async with self._hook(name).turn:
            return await self._run(name, event)
