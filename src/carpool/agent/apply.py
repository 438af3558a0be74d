"""A change of this node's configuration, from the plan to its end.

Room: agent. Check, snapshot, swap, reload, verify: whole or not at all. Whatever fails, all is put
back as it was, files and services. The files are `kernel/transaction.py`'s; refuses to know whether
a peer, a revision or a person wants it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from carpool.agent.group import GroupFile
from carpool.agent.job import Event
from carpool.agent.plan import Plan, file_diffs
from carpool.agent.reactions import (
    Reach,
    Reaction,
    reach_of,
    reactions_of,
    restarts_of,
    rulesets_of,
)
from carpool.agent.rulesets import Rulesets
from carpool.agent.services import Action, ServiceError, Services
from carpool.api.sections import CARPOOL
from carpool.errors import CarpoolError, KernelError
from carpool.kernel import checkrun, clock
from carpool.kernel.journal import say
from carpool.kernel.transaction import Transaction
from carpool.model.manifest import Change, Kind
from carpool.model.section import OnChange, RolePolicy, Section, Service

VERIFY_WAIT_S = 5.0  # that a service may take to be as active as before
VERIFY_EVERY_S = 0.1
DOWN = "down"  # of replication: from there it can only become better


class Refused(CarpoolError):
    """Nothing was changed."""


class Undone(CarpoolError):
    """It failed, and all is as it was before."""


class Node(Protocol):
    """What is asked of this node around a change (`agent.py`)."""

    root: Path
    state_dir: Path
    services: Services
    group: GroupFile
    rulesets: Rulesets

    async def health(self) -> dict[str, str]:
        """What must not become worse by it: role by VIP, and how replication is."""

    async def is_master(self) -> bool: ...

    def of_master(self) -> Sequence[str]:
        """Services that who keeps roles starts and stops. Blocking."""


class Applier:
    """The changes of this node, one at a time."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._directory = node.state_dir / "sync" / "transaction"
        self._rulesets = node.rulesets
        self._waiting: _Waiting | None = None
        self._busy = ""  # what is being done, and for whom; also while it is put back

    def transaction(self) -> Transaction:
        return Transaction(self._directory, self._node.root)

    async def recover(self) -> str:
        """Put back what a killed agent, or a machine that lost power, left halfway; in words what
        was done, or nothing."""
        left = await asyncio.to_thread(Transaction.left, self._directory, self._node.root)
        if left is None:
            return ""
        note = left.note
        await asyncio.to_thread(left.roll_back)
        but = await self._take_up_old(reach_of(note), boot=True)
        return (
            f"the change {note.get('what', '')} of {note.get('by', 'somebody')} was cut short: "
            f"all of it is put back{f', but: {but}' if but else ''}"
        )

    async def diff(self, plans: Sequence[Plan]) -> dict[str, object]:
        """What `apply` would change, for people."""
        return {"sections": [await asyncio.to_thread(self._diff, plan) for plan in plans]}

    async def apply(
        self,
        plans: Sequence[Plan],
        *,
        what: str,
        by: str,
        confirm_within_s: float | None = None,
        restart: bool = False,
        keep: Callable[[], Awaitable[None]] | None = None,
        force: bool = False,
    ) -> AsyncIterator[Event]:
        """Each step as it is done. Raises Refused or Undone. With `confirm_within_s` the last event
        is `waiting`: without `confirm` in that time all is put back. With `restart` every service
        of these sections that runs is restarted, in place of what it needs otherwise. `keep` is
        awaited just before the change cannot be put back any more. With `force` a group.toml that
        demotes this node is taken up all the same."""
        with self._alone(f"{what} of {by}"):
            restarts = restarts_of(plans) if restart else []
            plans = [plan for plan in plans if plan.changes]
            if not plans:
                yield {"step": "nothing"}
                async for event in self._restart(restarts):
                    yield event
                return
            for plan in plans:
                if plan.section.check:
                    yield {"step": "checking", "section": plan.section.name}
                    yield await self._check(plan, plans)
            services = restarts or reactions_of(plans)
            note: dict[str, object] = {"what": what, "by": by}
            async for event in self._change(
                plans, services, note, within_s=confirm_within_s, keep=keep, force=force
            ):
                yield event

    async def confirm(self) -> str:
        """Keep what waits; what that was. Raises Refused when nothing does."""
        waiting = self._pending()
        try:
            if waiting.keep is not None:
                await waiting.keep()
            await asyncio.to_thread(waiting.transaction.confirm)
        except CarpoolError as error:
            left = await self._undo(waiting.transaction, waiting.reach)
            raise Undone(error.message + _back(left), hint=error.hint) from error
        finally:
            self._waiting = None
        return waiting.what

    async def take_back(self) -> str:
        """Put back what waits to be confirmed; what that was. Raises Refused when nothing does."""
        waiting = self._pending()
        try:
            await self._undo(waiting.transaction, waiting.reach)
        finally:
            self._waiting = None
        return waiting.what

    @property
    def waiting(self) -> str:
        """What waits to be confirmed, or nothing."""
        return self._waiting.what if self._waiting is not None else ""

    def waits(self) -> dict[str, object] | None:
        """The same for people: what it is, whose, and how long still."""
        waiting = self._waiting
        if waiting is None:
            return None
        left_s = max(waiting.until_s - clock.monotonic_s(), 0.0)
        return {"what": waiting.what, "by": waiting.by, "left_s": round(left_s, 1)}

    def refuse_second(self) -> None:
        """Raises Refused while a change of this node is under way or waits to be confirmed."""
        if self._busy:
            raise Refused(f"already at it: {self._busy}", hint="wait until that has ended")
        if self._waiting is not None:
            raise Refused(
                f"{self._waiting.what} of {self._waiting.by} waits to be confirmed here",
                hint="`carpool confirm` keeps it, `carpool rollback --pending` puts it back",
            )

    # -------------------------------------------------------------------------------- private

    @contextmanager
    def _alone(self, who: str) -> Iterator[None]:
        """Two at once would swap each other's files, and sweep each other's snapshots."""
        self.refuse_second()
        self._busy = who
        try:
            yield
        finally:
            self._busy = ""

    async def _change(
        self,
        plans: Sequence[Plan],
        services: Sequence[Reaction],
        note: Mapping[str, object],
        *,
        within_s: float | None,
        keep: Callable[[], Awaitable[None]] | None,
        force: bool,
    ) -> AsyncIterator[Event]:
        """From the snapshot on."""
        before = await self._node.health()
        active = await self._active(services)
        await self._rulesets.note(rulesets_of(services, active))
        of_group = any(plan.section.name == CARPOOL for plan in plans)
        reach = Reach(services, active, of_group)
        transaction = self.transaction()
        files = sum(len(plan.changes) for plan in plans)
        yield {"step": "keeping", "files": files}
        await asyncio.to_thread(self._prepare, transaction, plans, {**note, **reach.noted()})
        yield {"step": "snapshot", "files": files}
        try:
            await asyncio.to_thread(transaction.swap)
            yield {"step": "swap", "files": files}
            if of_group:
                yield {"step": "group", "changes": await self._node.group.take_up(force=force)}
            async for event in self._react(services, active):
                yield event
            await self._verify(active, before)
            yield {"step": "verify", "services": sorted(active)}
            if keep is not None and within_s is None:
                await keep()
        except CarpoolError as error:
            left = await self._undo(transaction, reach)
            raise Undone(error.message + _back(left), hint=error.hint) from error
        if within_s is None:
            await asyncio.to_thread(transaction.confirm)
            return
        what, by = str(note["what"]), str(note["by"])
        self._waiting = _Waiting(transaction, reach, what, by, within_s, keep)
        self._waiting.begin(self._time_is_up)
        yield {"step": "waiting", "within_s": within_s}

    def _pending(self) -> _Waiting:
        """What waits, and is nobody else's from now on."""
        waiting = self._waiting
        if waiting is None:
            raise Refused("nothing waits to be confirmed here")
        if waiting.ending:
            raise Refused(f"{waiting.what} is being kept or put back at this moment")
        waiting.end()
        return waiting

    async def _time_is_up(self, waiting: _Waiting) -> None:
        """Until all is put back, nothing else is begun."""
        try:
            await self._undo(waiting.transaction, waiting.reach)
            say(f"agent: nobody confirmed {waiting.what} of {waiting.by}: all of it is put back")
        except CarpoolError as error:
            say(f"agent: nobody confirmed {waiting.what} of {waiting.by}, and: {error}")
        finally:
            self._waiting = None

    def _diff(self, plan: Plan) -> dict[str, object]:
        files = file_diffs(plan, self._node.root)
        services = [f"{one.deed} {one.name}" for one, _order in reactions_of([plan])]
        checks = [" ".join(plan.section.check)] if plan.section.check else []
        return {
            "name": plan.section.name,
            "files": files,
            "services": services if files else [],
            "checks": checks if files else [],
        }

    async def _check(self, plan: Plan, plans: Sequence[Plan]) -> Event:
        """Its command must succeed with all new files in place, those of other sections too."""
        staged = [(change, _content(each, change)) for each, change in _ordered(plans)]
        section = plan.section
        scratch = self._directory.with_name("check")
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        result = await asyncio.to_thread(
            checkrun.run_check,
            section.check,
            staged,
            scratch=scratch,
            root=self._node.root,
            timeout_s=section.check_timeout_s,
        )
        if not result.ok:
            why = (
                f"took more than {section.check_timeout_s:g} s"
                if result.timed_out
                else f"failed ({result.exit_status})"
            )
            raise Refused(
                f"section {section.name}: the check `{' '.join(section.check)}` {why}; nothing was "
                f"changed. It said: {result.output.strip()[-2000:] or 'nothing'}"
            )
        return {"step": "check", "section": section.name, "took_s": result.took_s}

    def _prepare(
        self, transaction: Transaction, plans: Sequence[Plan], note: Mapping[str, object]
    ) -> None:
        ordered = _ordered(plans)
        sources = {
            change.new: path
            for plan, change in ordered
            if change.new is not None and (path := _content(plan, change)) is not None
        }
        uses = Counter(sources.values())
        stages = {plan.stage for plan in plans}
        spare = {path for path, count in uses.items() if count == 1 and path.parent in stages}
        changes = [change for _plan, change in ordered]
        transaction.prepare(changes, sources.__getitem__, note, spare)

    async def _active(self, services: Sequence[Reaction]) -> frozenset[str]:
        return (await self._states(services))[0]

    async def _states(self, services: Sequence[Reaction]) -> tuple[frozenset[str], set[str]]:
        """Those that run, and those that are installed and do not."""
        states = await self._node.services.states([one.name for one, _order in services])
        idle = {one.name for one in states if one.installed and not one.active}
        return frozenset(one.name for one in states if one.active), idle

    async def _skipped(self, services: Sequence[Reaction]) -> AsyncIterator[Event]:
        """Those that do not take up their new files, as they do not run."""
        _active, idle = await self._states(services)
        for one, _order in services:
            if one.name in idle:
                why = "it does not run"
                yield {"step": "skipped", "service": one.name, "deed": one.deed, "why": why}

    async def _react(
        self, services: Sequence[Reaction], active: Collection[str], *, undo: bool = False
    ) -> AsyncIterator[Event]:
        """Reload or restart what is active, lower orders first, equal ones at once. What is not is
        not started: it may be a service of the master alone, or one that somebody stopped."""
        for order in sorted({order for _one, order in services}):
            now = [one for one, its in services if its == order and one.name in active]
            begun_s = clock.monotonic_s()
            if now:
                yield {"step": "reloading", "services": [one.name for one in now]}
            answers = await asyncio.gather(*map(self._act, now), return_exceptions=True)
            for one, answer in zip(now, answers, strict=True):
                if isinstance(answer, CarpoolError) and not undo:
                    raise ServiceError(f"{one.deed} {one.name}: {answer.message}", hint=answer.hint)
                if isinstance(answer, BaseException) and not isinstance(answer, CarpoolError):
                    raise answer
                took_s = clock.monotonic_s() - begun_s
                told: dict[str, object] = {}
                if isinstance(answer, CarpoolError):
                    told = {"error": answer.message}
                elif answer:
                    told = {"told": list(answer)}
                yield {"step": one.deed, "service": one.name, "took_s": took_s, **told}

    async def _act(self, service: Service) -> tuple[str, ...]:
        """What there is to tell about it. Raises KernelError, ServiceError."""
        if service.ruleset:
            return (await self._rulesets.load(service.ruleset)).told
        await self._node.services.act(service.name, Action(service.on_change))
        return ()

    async def _restart(self, services: Sequence[Reaction]) -> AsyncIterator[Event]:
        """Where no file changed, so that nothing can be put back. Raises KernelError."""
        if not services:
            return
        before = await self._node.health()
        active = await self._active(services)
        await self._rulesets.note(rulesets_of(services, active))
        async for event in self._skipped(services):
            yield event
        async for event in self._react(services, active):
            yield event
        await self._verify(active, before)
        yield {"step": "verify", "services": sorted(active)}

    async def _verify(self, active: Collection[str], before: Mapping[str, str]) -> None:
        """What was active is so again, and nothing of failover and replication became worse."""
        deadline_s = clock.monotonic_s() + VERIFY_WAIT_S
        while True:
            states = {one.name: one for one in await self._node.services.states(sorted(active))}
            dead = sorted(name for name in active if not states[name].active)
            if dead:  # one of the master alone may have been stopped for its role
                dead = sorted(frozenset(dead) - await self._idle())
            after = await self._node.health()
            worse = [
                f"{key} was {old}, is {after.get(key, 'gone')}"
                for key, old in before.items()
                if after.get(key) != old and old != DOWN
            ]
            if not dead and not worse:
                return
            if clock.monotonic_s() > deadline_s:
                told = [f"{name} is not active any more" for name in dead] + worse
                raise KernelError(f"after the change: {', '.join(told)}")
            await asyncio.sleep(VERIFY_EVERY_S)

    async def _undo(self, transaction: Transaction, reach: Reach) -> str:
        """Files first; what processes and services say against it, which does not hinder it."""
        await asyncio.to_thread(transaction.roll_back)
        return await self._take_up_old(reach)

    async def _take_up_old(self, reach: Reach, *, boot: bool = False) -> str:
        left: list[str] = []
        if reach.of_group:
            try:
                await self._node.group.take_up(force=True)
            except CarpoolError as error:
                left.append(f"taking up group.toml: {error.message}")
        try:
            left += [text async for text in self._revive(reach, boot=boot)]
        except CarpoolError as error:
            left.append(f"services: {error.message}")
        for text in left:
            say(f"agent: while putting back: {text}")
        return "; ".join(left)

    async def _revive(self, reach: Reach, *, boot: bool) -> AsyncIterator[str]:
        """All services go by the old files, and what the new ones killed is started. What does not
        work, in words. At `boot`, those of the master alone are left to who keeps roles."""
        active = await self._active(reach.services)
        idle = reach.active - active and await self._idle(boot=boot)
        dead = reach.active - active - idle
        services = [
            (replace(one, on_change=OnChange.RESTART, ruleset=""), order)
            if one.name in dead  # a ruleset is loaded over one that is there; here is none
            else (one, order)
            for one, order in reach.services
        ]
        async for event in self._react(services, active | dead, undo=True):
            if "error" in event:
                yield f"{event['step']} {event['service']}: {event['error']}"
        for name in sorted(dead - await self._active(services)):
            yield f"{name} was active, and is not any more"

    async def _idle(self, *, boot: bool = False) -> frozenset[str]:
        """Services that are not to run here at this moment: those of the master alone elsewhere."""
        if not boot and await self._node.is_master():
            return frozenset()
        return frozenset(await asyncio.to_thread(self._node.of_master))


@dataclass(slots=True)
class _Waiting:
    """A change that is put back unless somebody confirms it."""

    transaction: Transaction
    reach: Reach
    what: str
    by: str
    within_s: float
    keep: Callable[[], Awaitable[None]] | None
    until_s: float = 0.0
    ending: bool = False  # somebody keeps it or puts it back already
    _timer: asyncio.Task[None] | None = None

    def begin(self, time_is_up: Callable[[_Waiting], Awaitable[None]]) -> None:
        async def wait() -> None:
            await asyncio.sleep(self.within_s)
            self.ending = True
            await time_is_up(self)

        self.until_s = clock.monotonic_s() + self.within_s
        self._timer = asyncio.create_task(wait())

    def end(self) -> None:
        self.ending = True
        if self._timer is not None:
            self._timer.cancel()


def _back(left: str) -> str:
    """For a sentence that says what failed; `left` is what hindered the way back."""
    return f"; everything is put back as it was{f', but: {left}' if left else ''}"


def _ordered(plans: Sequence[Plan]) -> list[tuple[Plan, Change]]:
    """All changes in an order that works, as `changes` gives it for one section."""
    every = [(plan, change) for plan in plans for change in plan.changes]
    gone = [one for one in every if one[1].new is None]
    made = [one for one in every if one[1].new is not None]
    gone.sort(key=lambda one: one[1].path, reverse=True)
    made.sort(key=lambda one: one[1].path)
    return gone + made


def _content(plan: Plan, change: Change) -> Path | None:
    """Where the new content of a path is, if it is a file."""
    if change.new is None or change.new.kind is not Kind.FILE:
        return None
    return plan.source(change.new)


def runs_here(section: Section, *, master: bool) -> bool:
    """Whether the services of a section may run on this node now."""
    return master or section.role is RolePolicy.BOTH
