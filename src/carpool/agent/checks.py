"""Runs the checks of this node at their intervals, and has failover demote it while one fails.

Room: agent. What counts as failing, and when it is told, is `machine/checks.py`'s. failover keeps
what it is told for a lease: an agent that dies leaves no demotion behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from carpool.agent.scriptlog import Clocks, Row, ScriptLog
from carpool.agent.scriptrun import Call, Ran, Runner
from carpool.agent.together import together
from carpool.agent.watch import Told
from carpool.api.control import STATUS_WAIT_S, Answer, request
from carpool.errors import CarpoolError
from carpool.kernel import clock
from carpool.kernel.journal import Journal, say
from carpool.machine.checks import LEASE_S, TELL_EVERY_S, Tally, next_run_s
from carpool.machine.demotion import CHECK
from carpool.model.config import Config
from carpool.model.scripts import CHECKS_DIR
from carpool.model.scripts import Check as Settings

LOOK_EVERY_S = 5.0  # for other files
RETRY_S = 1.0  # to tell failover what it did not take


@dataclass(slots=True)
class _Check:
    """One of them, as far as this agent remembers it."""

    tally: Tally = field(default_factory=Tally)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    last: Ran | None = None
    time: str = ""  # of the last run, RFC 3339
    task: asyncio.Task[None] | None = None


class CheckKeeper:
    """`config` tells what counts now; checks are below `config_dir`."""

    def __init__(
        self,
        config: Callable[[], Config],
        config_dir: Path,
        failover: Path,
        runner: Runner,
        journal: Journal,
        clocks: Clocks,
    ) -> None:
        self._config = config
        self._failover = failover
        self._runner = runner
        self._now_s = clocks.now_s
        self._wall_iso = clocks.wall_iso
        self._log = ScriptLog("check", (config_dir / CHECKS_DIR).absolute(), journal, clocks)
        self._checks: dict[str, _Check] = {}
        self._is_master = False
        self._news = asyncio.Event()
        self._said: list[Row] = []  # to failover, last
        self._say_at_s: float | None = None
        self._silent = False  # failover does not take it: said once

    def hear(self, told: Told) -> None:
        """From failover. One that was started again knows of no check."""
        self._is_master = told.master
        if told.moves is None or told.moves.whole:
            self._said = []
        self._news.set()

    # --------------------------------------------------------------------------------- loop

    async def run(self) -> None:
        """Until it is cancelled. What fails then, failover keeps until its lease ends."""
        await self._adopt()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_telling())
            while True:
                await self._follow_files(tasks)
                await asyncio.sleep(LOOK_EVERY_S)

    async def _adopt(self) -> None:
        """What an agent before this one told, and is not forgotten: it fails until it is well."""
        try:
            status = await asyncio.to_thread(self._ask, {"command": "status"})
        except CarpoolError:
            return
        rows = status.get("demotion")
        for row in rows if isinstance(rows, list) else []:
            reason = str(row.get("reason")) if isinstance(row, dict) else ""
            if reason.startswith(CHECK):
                name = reason.removeprefix(CHECK)
                self._checks[name] = _Check(Tally.adopted(self._now_s()))

    async def _follow_files(self, tasks: asyncio.TaskGroup) -> None:
        names = await self._log.look()
        for name in [one for one in self._checks if one not in names]:
            task = self._checks.pop(name).task
            if task is not None:
                task.cancel()
            self._news.set()
        for name in names:
            check = self._checks.setdefault(name, _Check())
            if check.task is None:
                check.task = tasks.create_task(self._keep_checking(name, check))

    async def _keep_checking(self, name: str, check: _Check) -> None:
        """Now, and at each of its moments."""
        while True:
            await self._check(name, check)
            now_s, interval_s = self._now_s(), self._settings(name).interval_s
            due_s = next_run_s(now_s, clock.wall_us() / 1e6, interval_s)
            await asyncio.sleep(due_s - now_s)

    async def _check(self, name: str, check: _Check) -> None:
        settings = self._settings(name)
        config = self._config()
        said = {"CARPOOL_NODE": config.node.name, "CARPOOL_GROUP": config.group.name}
        argv = (str(self._log.directory / name),)
        async with check.turn:
            time = self._wall_iso()
            call = Call(f"carpool-check-{name}", argv, said, b"", settings.timeout_s)
            ran = await self._runner.run(call)
        check.last, check.time = ran, time
        if check.tally.add(ran.ok, settings.rise, settings.fall, self._now_s()):
            self._log.record(_changed(name, check.tally, ran, settings))
        self._news.set()

    def _settings(self, name: str) -> Settings:
        return self._config().group.checks.of(name)

    # ------------------------------------------------------------------------------ failover

    async def _keep_telling(self) -> None:
        """failover what fails, at once when that changes, and again before its lease ends."""
        while True:
            await self._wait()
            failing = self._failing()
            if failing != self._said or self._is_due:
                await self._tell(failing)

    @property
    def _is_due(self) -> bool:
        return self._say_at_s is not None and self._now_s() >= self._say_at_s

    async def _wait(self) -> None:
        due = [check.tally.deadline_s(self._is_master) for check in self._checks.values()]
        due.append(self._say_at_s)
        at_s = min((one for one in due if one is not None), default=None)
        try:
            async with asyncio.timeout(None if at_s is None else max(at_s - self._now_s(), 0.0)):
                await self._news.wait()
        except TimeoutError:
            pass
        self._news.clear()

    def _failing(self) -> list[Row]:
        found: list[Row] = []
        for name, check in sorted(self._checks.items()):
            weight = self._settings(name).weight
            if check.tally.tell(self._is_master, self._now_s()) and weight:
                text = check.last.said if check.last else ""
                found.append({"name": name, "weight": weight, "text": text})
        return found

    async def _tell(self, failing: list[Row]) -> None:
        wish = {"command": "checks", "failing": failing, "lease_s": LEASE_S}
        try:
            await asyncio.to_thread(self._ask, wish)
        except CarpoolError as error:
            self._say_at_s = self._now_s() + RETRY_S
            if not self._silent:
                say(f"agent: failover does not take what checks say: {error.message}")
            self._silent = True
            return
        self._silent = False
        self._said = failing
        self._say_at_s = self._now_s() + TELL_EVERY_S if failing else None

    def _ask(self, command: Mapping[str, object]) -> Answer:
        return request(self._failover, command, STATUS_WAIT_S)

    # -------------------------------------------------------------------------------- asked

    async def rows(self) -> Mapping[str, object]:
        """For `carpool checks`."""
        await self._log.look()
        rows = [self._row(name, check) for name, check in sorted(self._checks.items())]
        return self._log.about(rows)

    def _row(self, name: str, check: _Check) -> Row:
        settings, tally, last = self._settings(name), check.tally, check.last
        return {
            "name": name,
            "failing": tally.failing,
            "for_s": None if tally.failing is None else round(self._now_s() - tally.since_s, 1),
            "weight": settings.weight,
            "interval_s": settings.interval_s,
            "count": tally.count,
            "needed": settings.rise if tally.failing else settings.fall,
            "time": check.time,
            "result": "" if last is None else last.words,
            "ok": None if last is None else last.ok,
            "took_s": None if last is None else round(last.took_s, 3),
            "last_line": "" if last is None else last.last_line,
        }

    async def run_now(self, name: str | None) -> Mapping[str, object]:
        """Run one, or all, besides their intervals. Raises CarpoolError."""
        names = await self._log.look()
        if name is not None and name not in names:
            raise CarpoolError(
                f"there is no check {name!r} in {self._log.directory}",
                hint="`carpool checks` lists them",
            )
        wanted = names if name is None else [name]
        checks = {one: self._checks.setdefault(one, _Check()) for one in wanted}
        await together(self._check(one, check) for one, check in checks.items())
        return self._log.about([self._row(one, check) for one, check in checks.items()])


def _changed(name: str, tally: Tally, ran: Ran, settings: Settings) -> str:
    if not tally.failing:
        return f"{name} is well again"
    weight = f"demotes by {settings.weight}" if settings.weight else "demotes nothing"
    return f"{name} fails, which {weight}: {ran.said}"
