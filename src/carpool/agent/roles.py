"""Keeps services in the role of this node: watches failover, and starts, stops and switches them.

Room: agent. The decisions are `machine/roles.py`'s; refuses to know how the group moves. When the
agent ends it leaves every service as it is: a restart of the agent is no failover.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from carpool.agent.scriptrun import Runner
from carpool.agent.services import Action, Services, ServiceState
from carpool.agent.switch import SWITCH, Move, switch
from carpool.agent.together import together
from carpool.agent.watch import watch
from carpool.errors import CarpoolError
from carpool.kernel import clock
from carpool.kernel.journal import say
from carpool.machine.roles import AS_MASTER, AS_OTHER, DISABLE, STOP, Roles, Waits, deeds, has_role
from carpool.model.section import Service

RETRY_S = 0.25  # until failover is asked again whether it is there


@dataclass(slots=True)
class _Post:
    """What the services that follow the same VIPs share."""

    roles: Roles
    work: asyncio.Task[None] | None = None

    @property
    def is_busy(self) -> bool:
        return self.work is not None and not self.work.done()


@dataclass(frozen=True, slots=True)
class _Role:
    """What is taken up."""

    master: bool
    fresh: bool  # not one that was taken up already: it is looked whether it still is so
    heard_s: float

    @property
    def why(self) -> str:
        return AS_MASTER if self.master else AS_OTHER


class RoleKeeper:
    """`duties` tells the services that follow the role, as sections place them; it may block."""

    def __init__(
        self,
        socket: Path,
        services: Services,
        runner: Runner,
        duties: Callable[[], Sequence[Service]],
        now_s: Callable[[], float],
        waits: Waits,
        wall_iso: Callable[[], str] = clock.wall_iso,
        tell: Callable[[str], None] = lambda text: say(f"agent: {text}"),
    ) -> None:
        """`tell` is told each move, for log and events."""
        self._socket = socket
        self._services = services
        self._runner = runner
        self._duties = duties
        self._now_s = now_s
        self._waits = waits
        self._wall_iso = wall_iso
        self._tell = tell
        self._masters: frozenset[str] | None = None  # None: failover does not answer
        self._posts: dict[str, _Post] = {}  # by what is followed
        self._anew = True  # `duties` may tell others than before
        self._look_s = now_s() + waits.look_s
        self._switched: dict[str, tuple[bool, str]] = {}  # to what, and how the service was then
        self._news = asyncio.Event()
        self.moves: dict[str, Move] = {}  # the last of each service

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            while True:
                self._news.clear()
                if self._anew:
                    self._anew = False
                    await self._meet()
                looks = self._now_s() >= self._look_s
                if looks:
                    self._look_s = self._now_s() + self._waits.look_s
                for follows, post in self._posts.items():
                    role = self._due(post, looks)
                    if role is None:
                        continue
                    await _end(post)  # a start that hangs must not hold up the stop
                    post.work = tasks.create_task(self._take_up(follows, post, role))
                await self._wait()

    def look_again(self) -> None:
        """`duties` tells others than before: make them fit the role that this node has."""
        self._anew = True
        for post in self._posts.values():
            post.roles.again()
        self._news.set()

    def heed(self, name: str) -> None:
        """Somebody acted on this service; what it was switched to may be forgotten."""
        if self._switched.pop(name, None) is not None:
            self._look_s = self._now_s()
            self._news.set()

    async def _meet(self) -> None:
        """Give each thing that is followed its post."""
        try:
            services = await asyncio.to_thread(self._duties)
        except CarpoolError as error:
            say(f"agent: services that follow the role: {error.message}")
            self._anew = True  # with the next news, or the next look
            return
        now_s = self._now_s()
        followed = dict.fromkeys(one.follows for one in services)
        for follows in [one for one in self._posts if one not in followed]:
            await _end(self._posts.pop(follows))
        for follows in followed:
            if follows not in self._posts:
                post = self._posts[follows] = _Post(Roles(now_s, self._waits))
                post.roles.heard(self._role(follows), now_s)

    def _due(self, post: _Post, looks: bool) -> _Role | None:
        master = post.roles.due(self._now_s())
        if master is not None:
            return _Role(master, True, post.roles.heard_s)
        if looks and post.roles.taken is not None and not post.is_busy:
            return _Role(post.roles.taken, False, post.roles.heard_s)
        return None

    async def _wait(self) -> None:
        """For news, or until something is due."""
        due = [post.roles.deadline_s for post in self._posts.values()]
        deadline_s = min([self._look_s, *(at_s for at_s in due if at_s is not None)])
        try:
            async with asyncio.timeout(max(deadline_s - self._now_s(), 0.0)):
                await self._news.wait()
        except TimeoutError:
            pass

    async def _listen(self) -> None:
        while True:
            async for told in watch(self._socket):
                self._hear(told.masters)
            self._hear(None)
            await asyncio.sleep(RETRY_S)

    def _hear(self, masters: frozenset[str] | None) -> None:
        self._masters = masters
        for follows, post in self._posts.items():
            post.roles.heard(self._role(follows), self._now_s())
        self._news.set()

    def _role(self, follows: str) -> bool | None:
        return None if self._masters is None else has_role(follows, self._masters)

    async def _take_up(self, follows: str, post: _Post, role: _Role) -> None:
        """Make all services fit, at once; what does not work is told, and tried again."""
        try:
            listed = await asyncio.to_thread(self._duties)
            services = {one.name: one for one in listed if one.follows == follows}
            states = {one.name: one for one in await self._services.states(list(services))}
        except CarpoolError as error:
            say(f"agent: services that follow the role: {error.message}")
            done = [False]
        else:
            alone = [states[one.name] for one in services.values() if not one.switched]
            for state in alone if role.fresh else ():
                _warn(state)
            todo = deeds(role.master, alone, fresh=role.fresh)
            moves = [self._verbs(services[name], verbs, role) for name, verbs in todo]
            moves += [
                self._switch(one, states[one.name], role)
                for one in services.values()
                if one.switched and self._is_other(states[one.name], role.master)
            ]
            done = await together(moves)
        if not all(done) and role.fresh:  # else the next look comes back to it
            post.roles.failed(role.master, self._now_s())
            self._news.set()

    def _is_other(self, state: ServiceState, master: bool) -> bool:
        """Whether it is to be switched: to another role, or because it was begun or reloaded since.
        One that does not run is switched when it does."""
        if not state.active:
            self._switched.pop(state.name, None)
            return False
        return self._switched.get(state.name) != (master, state.changed)

    async def _verbs(self, service: Service, verbs: Sequence[str], role: _Role) -> bool:
        """Every verb, also after one that failed; whether all were done."""
        by_others = "" if role.fresh else ", for something else had begun it"
        well = True
        for verb in verbs:
            deed = self._services.act(service.name, Action(verb), service.timeout_s)
            more = by_others if verb == STOP else ""
            well &= await self._done(service.name, verb, deed, role, more)
        return well

    async def _switch(self, service: Service, state: ServiceState, role: _Role) -> bool:
        self._switched.pop(service.name, None)
        deed = switch(service, role.master, self._runner)
        well = await self._done(service.name, SWITCH, deed, role)
        if well:
            self._switched[service.name] = (role.master, state.changed)
        return well

    async def _done(
        self, name: str, verb: str, deed: Awaitable[None], role: _Role, more: str = ""
    ) -> bool:
        """Do it, measure it, and tell how it went."""
        begun_s = self._now_s()
        failed = ""
        try:
            await deed
        except CarpoolError as error:
            failed = error.message
        ended_s = self._now_s()
        took_s, after_s = ended_s - begun_s, ended_s - role.heard_s
        if failed:
            self._tell(f"{role.why}, but {failed}")
        else:
            more = f", done {after_s:.2f} s after the change" if role.fresh else more
            self._tell(f"{role.why}: {verb} {name} took {took_s:.2f} s{more}")
        if verb != DISABLE:
            after = round(after_s, 3) if role.fresh else None
            moved = Move(role.master, verb, self._wall_iso(), round(took_s, 3), after, failed)
            self.moves[name] = moved
        return not failed


def _warn(state: ServiceState) -> None:
    """Of what would run twice between a boot and our first second."""
    if state.wanted_by:
        starters = ", ".join(state.wanted_by)
        say(
            f"agent: {state.name} is disabled, but {starters} starts it at a boot all the same; "
            "until failover has spoken it may run beside that of the master"
        )


async def _end(post: _Post) -> None:
    if post.work is not None:
        post.work.cancel()
        await asyncio.wait([post.work])
