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
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from carpool.agent.check import Refused as Refused  # with Undone and Stuck, for who asks
from carpool.agent.check import check
from carpool.agent.group import GroupFile
from carpool.agent.job import Event
from carpool.agent.meanwhile import Meanwhile
from carpool.agent.plan import Plan, content_of, ordered, with_group
from carpool.agent.reactions import (
    Reach,
    Reaction,
    differences,
    reach_of,
    reactions_of,
    restarts_of,
    rulesets_of,
    skipped,
)
from carpool.agent.rulesets import Rulesets
from carpool.agent.services import Action, ServiceError, Services
from carpool.agent.waiting import Waiting
from carpool.errors import CarpoolError, KernelError
from carpool.kernel import clock
from carpool.kernel.journal import say
from carpool.kernel.transaction import Transaction
from carpool.kernel.tree import Digests
from carpool.model.section import OnChange, Service

VERIFY_WAIT_S = 5.0  # that a service may take to be as active as before
VERIFY_EVERY_S = 0.1
NOTHING_WAITS = "nothing waits to be confirmed here"
ITS_END = "wait until that has ended"
AGAIN = "mend that, then say `carpool rollback --pending` on that node"
DOWN = "down"  # of replication: from there it can only become better


class Undone(CarpoolError):
    """It failed, and all is as it was before."""


class Stuck(CarpoolError):
    """It failed, and so did putting it back: files are neither as before nor as they shall be."""


class Node(Protocol):
    """What is asked of this node around a change (`agent.py`)."""

    root: Path
    state_dir: Path
    services: Services
    group: GroupFile
    rulesets: Rulesets
    meanwhile: Meanwhile
    known: Digests  # digests of files

    async def health(self) -> dict[str, str]:
        """What must not become worse by it: role by VIP, and how replication is."""

    async def is_master(self) -> bool: ...

    async def elsewhere(self, *, at_boot: bool = False) -> Collection[str]:
        """Services of the master alone that are not to run here now; `at_boot`, all of them."""


class Applier:
    """The changes of this node, one at a time."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._directory = node.state_dir / "sync" / "transaction"
        self._rulesets = node.rulesets
        self._waiting: Waiting | None = None
        self._stuck = ""  # why something could not be put back
        self._busy = ""  # what is being done, and for whom; also while it is put back

    def transaction(self) -> Transaction:
        return Transaction(self._directory, self._node.root, digests=self._node.known)

    async def recover(self) -> str:
        """Put back what a killed agent, or a machine that lost power, left halfway; in words what
        was done, or nothing. What cannot be put back is told, and waits for `take_back`."""
        try:
            what, but = await self._put_back_left(boot=True)
        except Stuck as error:
            return f"a change was cut short, and {error}"
        if not what:
            return ""
        return f"the change {what} was cut short: all of it is put back{_but(but)}"

    async def diff(self, plans: Sequence[Plan]) -> dict[str, object]:
        """What `apply` would change, for people."""
        return {
            "sections": [
                await asyncio.to_thread(differences, plan, self._node.root) for plan in plans
            ]
        }

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
        """Each step as it is done. Raises Refused, Undone or Stuck. With `confirm_within_s` the
        last event is `waiting`: without `confirm` in that time all is put back. With `restart`
        every service of these sections that runs is restarted, in place of what it needs otherwise.
        `keep` is awaited just before the change cannot be put back any more. With `force` a
        group.toml that demotes this node is taken up all the same."""
        with self._alone(f"{what} of {by}"):
            restarts = restarts_of(plans) if restart else []
            named = with_group(plans)
            plans = [plan for plan in plans if plan.changes]
            of_group = with_group(plans)
            if named and not of_group:  # what the processes did not hear of last time, they do now
                of_group = await self._node.group.behind()
            if not plans:
                if of_group:
                    yield {"step": "group", "changes": await self._node.group.take_up(force=force)}
                else:
                    yield {"step": "nothing"}
                async for event in self._restart(restarts):
                    yield event
                return
            for plan in plans:
                if plan.section.check:
                    yield {"step": "checking", "section": plan.section.name}
                    yield await check(
                        plan, plans, self._directory.with_name("check"), self._node.root
                    )
            services = restarts or reactions_of(plans)
            note: dict[str, object] = {"what": what, "by": by}
            async for event in self._change(
                plans, (services, of_group), note, within_s=confirm_within_s, keep=keep, force=force
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
            raise await self._failed(error, waiting.transaction, waiting.reach) from error
        finally:
            self._waiting = None
        return waiting.what

    async def take_back(self) -> str:
        """Put back what waits to be confirmed, or what could not be put back before; what that was,
        and what does not work after it. Raises Refused when there is neither, and Stuck."""
        if self._stuck:
            with self._alone("putting back what could not be put back before", mending=True):
                what, left = await self._put_back_left()
                return (what or "what was left") + _but(left)
        waiting = self._pending()
        try:
            left = await self._undo(waiting.transaction, waiting.reach)
        finally:
            self._waiting = None
        return waiting.what + _but(left)

    @property
    def stuck(self) -> str:
        """Why the last change is neither whole nor put back, or nothing."""
        return self._stuck

    @property
    def waiting(self) -> str:
        """What waits to be confirmed, or nothing."""
        return self._waiting.what if self._waiting is not None else ""

    def waits(self) -> dict[str, object] | None:
        """The same for people: what it is, whose, and how long still."""
        if (waiting := self._waiting) is None:
            return None
        left_s = max(waiting.until_s - clock.monotonic_s(), 0.0)
        return {"what": waiting.what, "by": waiting.by, "left_s": round(left_s, 1)}

    def refuse_look(self) -> None:
        """Raises Refused while files are on their way: who looks then sees halves."""
        waiting = self._waiting
        ending = waiting is not None and waiting.ending and f"the end of {waiting.what}"
        if self._busy or ending:
            raise Refused(f"already at it: {self._busy or ending}", hint=ITS_END)

    def refuse_second(self) -> None:
        """Raises Refused while a change of this node is under way or waits to be confirmed."""
        self._node.meanwhile.refuse_change()
        if self._waiting is None or self._busy:
            self.refuse_look()
        if self._stuck:
            raise Refused(f"the last change could not be put back here: {self._stuck}", hint=AGAIN)
        if self._waiting is not None:
            raise Refused(
                f"{self._waiting.what} of {self._waiting.by} waits to be confirmed here",
                hint="`carpool confirm` keeps it, `carpool rollback --pending` puts it back",
            )

    # -------------------------------------------------------------------------------- private

    @contextmanager
    def _alone(self, who: str, *, mending: bool = False) -> Iterator[None]:
        """Two at once would swap each other's files, and sweep each other's snapshots. Who is
        `mending` has to do with what is stuck."""
        if self._busy or not mending:
            self.refuse_second()
        self._busy = who
        try:
            yield
        finally:
            self._busy = ""

    async def _change(
        self,
        plans: Sequence[Plan],
        reaching: tuple[Sequence[Reaction], bool],
        note: Mapping[str, object],
        *,
        within_s: float | None,
        keep: Callable[[], Awaitable[None]] | None,
        force: bool,
    ) -> AsyncIterator[Event]:
        """From the snapshot on. `reaching`: services, and whether the group changes."""
        services, of_group = reaching
        before = await self._node.health()
        active, idle = await self._states(services)
        await self._rulesets.note(rulesets_of(services, active))
        reach = Reach(services, active, of_group)
        transaction = self.transaction()
        files = sum(len(plan.changes) for plan in plans)
        yield {"step": "keeping", "files": files}
        try:
            await asyncio.to_thread(self._prepare, transaction, plans, {**note, **reach.noted()})
        except CarpoolError as error:
            if transaction.phase is not None:  # nor could what lies beside the files be cleared
                raise self._is_stuck(error) from error
            raise
        yield {"step": "snapshot", "files": files}
        try:
            await asyncio.to_thread(transaction.swap)
            yield {"step": "swap", "files": files}
            if of_group:
                yield {"step": "group", "changes": await self._node.group.take_up(force=force)}
                before = self._node.group.comparable(before, force=force)
            for event in skipped(services, idle):
                yield event
            async for event in self._react(services, active):
                yield event
            await self._verify(active, before)
            yield {"step": "verify", "services": sorted(active)}
            if within_s is None:
                if keep is not None:
                    await keep()
                await asyncio.to_thread(transaction.confirm)
        except CarpoolError as error:
            raise await self._failed(error, transaction, reach) from error
        except Exception:  # a bug, told to the driver: but half a configuration must not stay
            with suppress(Stuck):
                await self._undo(transaction, reach)
            raise
        if within_s is None:
            return
        what, by = str(note["what"]), str(note["by"])
        self._waiting = Waiting(transaction, reach, what, by, within_s, keep)
        self._waiting.begin(self._time_is_up)
        yield {"step": "waiting", "within_s": within_s}

    def _pending(self) -> Waiting:
        """What waits, and is nobody else's from now on."""
        waiting = self._waiting
        if waiting is None:
            raise Refused(NOTHING_WAITS)
        if waiting.ending:
            raise Refused(f"{waiting.what} is being kept or put back at this moment")
        waiting.end()
        return waiting

    async def _time_is_up(self, waiting: Waiting) -> None:
        """Until all is put back, nothing else is begun."""
        try:
            left = _but(await self._undo(waiting.transaction, waiting.reach))
            told = f"{waiting.what} of {waiting.by}: all of it is put back{left}"
            say(f"agent: nobody confirmed {told}")
        except CarpoolError as error:
            say(f"agent: nobody confirmed {waiting.what} of {waiting.by}, and: {error}")
        finally:
            self._waiting = None

    def _prepare(
        self, transaction: Transaction, plans: Sequence[Plan], note: Mapping[str, object]
    ) -> None:
        every = ordered(plans)
        sources = {
            change.new: path
            for plan, change in every
            if change.new is not None and (path := content_of(plan, change)) is not None
        }
        uses = Counter(sources.values())
        stages = {plan.stage for plan in plans}
        spare = {path for path, count in uses.items() if count == 1 and path.parent in stages}
        changes = [change for _plan, change in every]
        transaction.prepare(changes, sources.__getitem__, note, spare)

    async def _active(self, services: Sequence[Reaction]) -> frozenset[str]:
        return (await self._states(services))[0]

    async def _states(self, services: Sequence[Reaction]) -> tuple[frozenset[str], set[str]]:
        """Those that run, and those that are installed and do not."""
        states = await self._node.services.states([one.name for one, _order in services])
        idle = {one.name for one in states if one.installed and not one.active}
        return frozenset(one.name for one in states if one.active), idle

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
        active, idle = await self._states(services)
        await self._rulesets.note(rulesets_of(services, active))
        for event in skipped(services, idle):
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

    async def _failed(
        self, error: CarpoolError, transaction: Transaction, reach: Reach
    ) -> CarpoolError:
        """What to raise for it, after all is put back, or as much as can be."""
        try:
            left = await self._undo(transaction, reach)
        except Stuck as stuck:
            return Stuck(f"{error.message}; and {stuck.message}", hint=stuck.hint)
        return Undone(
            f"{error.message}; everything is put back as it was{_but(left)}", hint=error.hint
        )

    async def _undo(self, transaction: Transaction, reach: Reach, *, boot: bool = False) -> str:
        """Files first; what processes and services say against it, which does not hinder it. Until
        all is done it is in the journal, for the agent after us. Raises Stuck."""
        await self._certain(partial(transaction.roll_back, hold=True))
        try:
            left = await self._take_up_old(reach, boot=boot)
        except Exception:  # a bug; who is cancelled leaves it to the next agent
            await self._certain(transaction.finish)
            raise
        await self._certain(transaction.finish)
        self._stuck = ""
        return left

    async def _certain(self, act: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(act)
        except CarpoolError as error:
            raise self._is_stuck(error) from error

    def _is_stuck(self, error: CarpoolError) -> Stuck:
        self._stuck = error.message
        say(f"agent: a change could not be put back: {error.message}; {AGAIN}")
        return Stuck(f"it could not be put back: {error.message}", hint=AGAIN)

    async def _put_back_left(self, *, boot: bool = False) -> tuple[str, str]:
        """What is on the disk only: what it was and of whom, or nothing; and what does not work
        after it. Raises Stuck."""
        try:
            left = await asyncio.to_thread(Transaction.left, self._directory, self._node.root)
        except CarpoolError as error:
            raise self._is_stuck(error) from error
        if left is None:
            self._stuck = ""
            return "", ""
        note = dict(left.note)
        but = await self._undo(left, reach_of(note), boot=boot)
        return f"{note.get('what', '')} of {note.get('by', 'somebody')}", but

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
        return frozenset(await self._node.elsewhere(at_boot=boot))


def _but(left: str) -> str:
    """For a sentence; `left` is what hindered the way back."""
    return f", but: {left}" if left else ""
