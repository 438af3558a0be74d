"""A change of this node's configuration, from the plan to its end.

Room: agent. Check, snapshot, swap, reload, verify: whole or not at all. Whatever fails, all is put
back as it was, files and services. The files are `kernel/transaction.py`'s; refuses to know whether
a peer, a revision or a person wants it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from carpool.agent.group import GroupFile
from carpool.agent.job import Event
from carpool.agent.plan import Plan, file_diffs
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


class Applier:
    """The changes of this node, one at a time."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._directory = node.state_dir / "sync" / "transaction"
        self._rulesets = node.rulesets
        self._waiting: _Waiting | None = None

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
        but = await self._take_up_old(_services(note), note.get("group") is True)
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
        if self._waiting is not None:
            raise Refused(
                f"{self._waiting.what} of {self._waiting.by} waits to be confirmed",
                hint="`carpool confirm` keeps it, `carpool rollback --pending` puts it back",
            )
        restarts = _restarts(plans) if restart else []
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
        services = restarts or _reactions(plans)
        before = await self._node.health()
        active = await self._active(services)
        note: dict[str, object] = {"what": what, "by": by}
        note["services"] = _noted(services)
        await self._rulesets.note(_files(services, active))
        of_group = any(plan.section.name == CARPOOL for plan in plans)
        note["group"] = of_group
        transaction = self.transaction()
        yield {"step": "keeping", "files": sum(len(plan.changes) for plan in plans)}
        await asyncio.to_thread(self._prepare, transaction, plans, note)
        yield {"step": "snapshot", "files": sum(len(plan.changes) for plan in plans)}
        try:
            await asyncio.to_thread(transaction.swap)
            yield {"step": "swap", "files": sum(len(plan.changes) for plan in plans)}
            if of_group:
                yield {"step": "group", "changes": await self._node.group.take_up(force=force)}
            async for event in self._react(services):
                yield event
            await self._verify(active, before)
            yield {"step": "verify", "services": sorted(active)}
            if keep is not None and confirm_within_s is None:
                await keep()
        except CarpoolError as error:
            left = await self._undo(transaction, services, of_group)
            raise Undone(error.message + _back(left), hint=error.hint) from error
        if confirm_within_s is None:
            await asyncio.to_thread(transaction.confirm)
            return
        self._waiting = _Waiting(transaction, services, of_group, what, by, confirm_within_s, keep)
        self._waiting.begin(self._time_is_up)
        yield {"step": "waiting", "within_s": confirm_within_s}

    async def confirm(self) -> str:
        """Keep what waits; what that was. Raises Refused when nothing does."""
        waiting = self._pending()
        try:
            if waiting.keep is not None:
                await waiting.keep()
            await asyncio.to_thread(waiting.transaction.confirm)
        except CarpoolError as error:
            left = await self._undo(waiting.transaction, waiting.services, waiting.of_group)
            raise Undone(error.message + _back(left), hint=error.hint) from error
        finally:
            self._waiting = None
        return waiting.what

    async def take_back(self) -> str:
        """Put back what waits to be confirmed; what that was. Raises Refused when nothing does."""
        waiting = self._pending()
        try:
            await self._undo(waiting.transaction, waiting.services, waiting.of_group)
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

    # -------------------------------------------------------------------------------- private

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
            await self._undo(waiting.transaction, waiting.services, waiting.of_group)
            say(f"agent: nobody confirmed {waiting.what} of {waiting.by}: all of it is put back")
        except CarpoolError as error:
            say(f"agent: nobody confirmed {waiting.what} of {waiting.by}, and: {error}")
        finally:
            self._waiting = None

    def _diff(self, plan: Plan) -> dict[str, object]:
        files = file_diffs(plan, self._node.root)
        services = [f"{one.deed} {one.name}" for one, _order in _reactions([plan])]
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

    async def _active(self, services: Sequence[_Reaction]) -> set[str]:
        return (await self._states(services))[0]

    async def _states(self, services: Sequence[_Reaction]) -> tuple[set[str], set[str]]:
        """Those that run, and those that are installed and do not."""
        states = await self._node.services.states([one.name for one, _order in services])
        idle = {one.name for one in states if one.installed and not one.active}
        return {one.name for one in states if one.active}, idle

    async def _react(
        self, services: Sequence[_Reaction], *, undo: bool = False
    ) -> AsyncIterator[Event]:
        """Reload or restart what runs, lower orders first, equal ones at once. What does not run is
        not started: it may be a service of the master alone, or one that somebody stopped."""
        active, idle = await self._states(services)
        for one, _order in services:
            if one.name in idle and not undo:
                yield {
                    "step": "skipped",
                    "service": one.name,
                    "deed": one.deed,
                    "why": "it does not run",
                }
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

    async def _restart(self, services: Sequence[_Reaction]) -> AsyncIterator[Event]:
        """Where no file changed, so that nothing can be put back. Raises KernelError."""
        if not services:
            return
        before = await self._node.health()
        active = await self._active(services)
        await self._rulesets.note(_files(services, active))
        async for event in self._react(services):
            yield event
        await self._verify(active, before)
        yield {"step": "verify", "services": sorted(active)}

    async def _verify(self, active: set[str], before: Mapping[str, str]) -> None:
        """What was active is so again, and nothing of failover and replication became worse."""
        deadline_s = clock.monotonic_s() + VERIFY_WAIT_S
        while True:
            states = {one.name: one for one in await self._node.services.states(sorted(active))}
            dead = sorted(name for name in active if not states[name].active)
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

    async def _undo(
        self, transaction: Transaction, services: Sequence[_Reaction], of_group: bool
    ) -> str:
        """Files first; what processes and services say against it, which does not hinder it."""
        await asyncio.to_thread(transaction.roll_back)
        return await self._take_up_old(services, of_group)

    async def _take_up_old(self, services: Sequence[_Reaction], of_group: bool) -> str:
        left: list[str] = []
        if of_group:
            try:
                await self._node.group.take_up(force=True)
            except CarpoolError as error:
                left.append(f"taking up group.toml: {error.message}")
        async for event in self._react(services, undo=True):
            if "error" in event:
                left.append(f"{event['step']} {event['service']}: {event['error']}")
        for text in left:
            say(f"agent: while putting back: {text}")
        return "; ".join(left)


_Reaction = tuple[Service, int]  # with the order of its section


@dataclass(slots=True)
class _Waiting:
    """A change that is put back unless somebody confirms it."""

    transaction: Transaction
    services: Sequence[_Reaction]
    of_group: bool
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


def _reactions(plans: Sequence[Plan]) -> list[_Reaction]:
    """The services of all these sections, each once, the strongest reaction of those asked for."""
    found: dict[str, _Reaction] = {}
    for plan in plans:
        for one in plan.section.services_of({*plan.have, *plan.want}):
            if one.on_change is OnChange.NOTHING:
                continue
            known = found.get(one.name)
            if known is None or one.on_change is OnChange.RESTART:
                found[one.name] = (one, plan.section.order)
    return list(found.values())


def _restarts(plans: Sequence[Plan]) -> list[_Reaction]:
    """All services of all these sections, each once, by the lowest order that names it."""
    found: dict[str, _Reaction] = {}
    for plan in sorted(plans, key=lambda plan: plan.section.order):
        for one in plan.section.services_of({*plan.have, *plan.want}):
            restart = replace(one, on_change=OnChange.RESTART)
            found.setdefault(one.name, (restart, plan.section.order))
    return list(found.values())


def _files(services: Sequence[_Reaction], active: set[str]) -> list[str]:
    """The rulesets that are going to be loaded."""
    return [one.ruleset for one, _order in services if one.ruleset and one.name in active]


def _noted(services: Sequence[_Reaction]) -> list[list[object]]:
    """As a journal holds them, for `_services`."""
    return [[one.name, one.on_change, order, one.ruleset] for one, order in services]


def _services(note: Mapping[str, object]) -> list[_Reaction]:
    """Those of a journal that was left."""
    listed = note.get("services")
    assert isinstance(listed, list)
    return [
        (Service(str(name), OnChange(how), ruleset="".join(ruleset)), int(order))
        for name, how, order, *ruleset in listed  # journals of older versions have none
    ]


def runs_here(section: Section, *, master: bool) -> bool:
    """Whether the services of a section may run on this node now."""
    return master or section.role is RolePolicy.BOTH
