"""Keeps services of the master alone where the group is MASTER: watches failover, starts and stops.

Room: agent. The decisions are `machine/roles.py`'s; refuses to know how the group moves. When the
agent ends it leaves every service as it is: a restart of the agent is no failover.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from carpool.agent.services import Action, Services
from carpool.agent.together import together
from carpool.agent.watch import watch
from carpool.errors import CarpoolError
from carpool.kernel.journal import say
from carpool.machine.roles import Roles, Waits, deeds

RETRY_S = 0.25  # until failover is asked again whether it is there
ACT_WAIT_S = 30.0  # that a service may take to start or stop


class RoleKeeper:
    """`names` tells the services of the master alone; it may block."""

    def __init__(
        self,
        socket: Path,
        services: Services,
        names: Callable[[], Sequence[str]],
        now_s: Callable[[], float],
        waits: Waits,
    ) -> None:
        self._socket = socket
        self._services = services
        self._names = names
        self._now_s = now_s
        self._roles = Roles(now_s(), waits)
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            work: asyncio.Task[None] | None = None
            while True:
                await self._wait()
                master = self._roles.due(self._now_s())
                if master is None:
                    continue
                if work is not None:  # a start that hangs must not hold up the stop
                    work.cancel()
                    await asyncio.wait([work])
                work = tasks.create_task(self._take_up(master))

    def look_again(self) -> None:
        """`names` tells others than before: make them fit the role that this node has."""
        self._roles.again()
        self._news.set()

    async def _wait(self) -> None:
        """For news, or until something is due."""
        self._news.clear()
        deadline_s = self._roles.deadline_s
        try:
            async with asyncio.timeout(
                None if deadline_s is None else max(deadline_s - self._now_s(), 0.0)
            ):
                await self._news.wait()
        except TimeoutError:
            pass

    async def _listen(self) -> None:
        while True:
            async for told in watch(self._socket):
                self._hear(told.master)
            self._hear(None)
            await asyncio.sleep(RETRY_S)

    def _hear(self, master: bool | None) -> None:
        self._roles.heard(master, self._now_s())
        self._news.set()

    async def _take_up(self, master: bool) -> None:
        """Make all services fit, at once; what does not work is told, and tried again."""
        try:
            names = await asyncio.to_thread(self._names)
            states = await self._services.states(names)
        except CarpoolError as error:
            say(f"agent: services of the master alone: {error.message}")
            done = [False]
        else:
            todo = deeds(master, states)
            done = await together(self._do(name, verbs, master) for name, verbs in todo)
        if not all(done):
            self._roles.failed(master, self._now_s())
            self._news.set()

    async def _do(self, name: str, verbs: Sequence[str], master: bool) -> bool:
        """Every verb, also after one that failed; whether all were done."""
        why = "this node is MASTER" if master else "this node is not MASTER"
        well = True
        for verb in verbs:
            begun_s = self._now_s()
            try:
                await self._services.act(name, Action(verb), ACT_WAIT_S)
            except CarpoolError as error:
                well = False
                say(f"agent: {why}, but {error.message}")
            else:
                say(f"agent: {why}: {verb} {name} took {self._now_s() - begun_s:.2f} s")
        return well
