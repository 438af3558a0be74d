"""The configuration of this node as its agent sees it: sections, what peers have, history, changes.

Room: agent. Joins the parts; the routes (`synclocal.py`, `syncpeer.py`) call it, nothing below it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from carpool.agent.answers import WORDS_MAX, Has
from carpool.agent.apply import Applier, Refused, Stuck, Undone
from carpool.agent.client import PeerClient as Peer
from carpool.agent.give import Giver
from carpool.agent.group import GroupFile
from carpool.agent.hazards import Search, search_between
from carpool.agent.history import History
from carpool.agent.historyformat import Origin
from carpool.agent.inturn import in_turn
from carpool.agent.job import Event, Job
from carpool.agent.lapses import Lapses
from carpool.agent.meanwhile import Meanwhile
from carpool.agent.plan import Plan
from carpool.agent.pull import Puller
from carpool.agent.receive import Facts, Offer, Receiver
from carpool.agent.record import Agreed, Record
from carpool.agent.results import Results, Tally
from carpool.agent.revisions import Revisions
from carpool.agent.rollback import plans_back
from carpool.agent.rulesets import Rulesets
from carpool.agent.seen import Seen
from carpool.agent.send import WORK_WAIT_S, Sender, Wish
from carpool.agent.services import Services
from carpool.agent.show import shown
from carpool.agent.tidy import Tidy
from carpool.agent.tocome import to_come
from carpool.agent.together import together
from carpool.agent.unconfirmed import GROUP_CHANGE, Unconfirmed
from carpool.agent.wanted import Contents, Place
from carpool.api.sections import CARPOOL, load_sections
from carpool.errors import CarpoolError, ConfigError, KernelError
from carpool.kernel import clock, links, tree
from carpool.kernel.journal import say
from carpool.kernel.stage import Stage
from carpool.machine.render import values
from carpool.model.config import Config
from carpool.model.manifest import Manifest, digest
from carpool.model.section import Section

MASTER = "MASTER"
Around = AbstractAsyncContextManager[None]


class Node(Protocol):
    """The agent, as far as this file goes."""

    config: Config
    config_dir: Path
    state_dir: Path
    root: Path
    services: Services
    group: GroupFile
    rulesets: Rulesets
    meanwhile: Meanwhile

    @property
    def sections(self) -> Mapping[str, Section]:
        """They follow the files, as `selected` does."""

    @property
    def selected(self) -> Sequence[str]: ...

    async def roles(self) -> dict[str, str]:
        """Role by VIP, of those whose link is up; empty when failover does not answer."""

    async def replication(self) -> dict[str, str]:
        """By peer: whether its stream is up."""

    async def elsewhere(self, *, at_boot: bool = False) -> Collection[str]:
        """Services of the master alone that are not to run here now; `at_boot`, all of them."""


class Configuration(Facts):
    """One for each agent."""

    def __init__(self, node: Node, peers: Collection[Peer]) -> None:
        """`peers` are followed as they change."""
        config, sections, state = node.config, node.sections, node.state_dir
        self.name = config.node.name
        self.root, self.state_dir, self.services = node.root, state, node.services
        self.sections, self.selected = sections, node.selected
        self.group, self.rulesets, self.meanwhile = node.group, node.rulesets, node.meanwhile
        self.history = History(state / "history")
        self.tidy = Tidy(self.history)
        self._revisions = Revisions(self.history, self.tidy, node.root, self.name)
        self.record = Record(state / "sync")
        self.results = Results(state / "sync")
        self._node = node
        self.known = tree.Digests()
        self._place = Place(node.root, node.config_dir, values(config), self.known)
        self._applier = Applier(self)
        self.refuse_look = self._applier.refuse_look
        self.receiver = Receiver(sections, self._place, self._applier, self.record, self, state)
        self.sender = Sender(sections, self.selected, self._place, peers, self)
        stages = state / "sync" / "stages"
        self.giver = Giver(
            self._synchronised, self._place, self.record, self, self.receiver, stages
        )
        self.puller = Puller(
            self.sender, self.receiver, self._place, self._applier, self.record, self, stages
        )
        self._seen = Seen(state / "sync")
        self.unconfirmed = Unconfirmed(self.sender, self.record, self.results, self._settle, self)
        self.lapses = Lapses(self.sender, self.results)
        self.complete_s: float | None = None  # everything was synchronised with all: wall time

    async def recover(self) -> None:
        """What an agent before us left halfway is put back before anything else is done."""
        told = await self._applier.recover()
        if told:
            say(f"agent: {told}")
        try:
            await self.receiver.recover(put_back=bool(told), stuck=self._applier.stuck)
        except CarpoolError as error:  # a node whose disk is full must answer all the same
            say(f"agent: what became of the last change: {error}")
        await self.unconfirmed.resume()
        await self.lapses.resume()

    def refill(self) -> None:
        """What fills templates has changed."""
        self._place.values = values(self._node.config)

    # ------------------------------------------------------------------------ facts of this node

    async def health(self) -> dict[str, str]:
        return {**await self._node.roles(), **await self._node.replication()}

    async def is_master(self) -> bool:
        """Of any VIP whose link is up."""
        return MASTER in (await self._node.roles()).values()

    async def elsewhere(self, *, at_boot: bool = False) -> Collection[str]:
        return await self._node.elsewhere(at_boot=at_boot)

    @property
    def devices(self) -> Mapping[str, str]:
        return self._node.config.node.interfaces

    def has(self, devices: Iterable[str], kept: Mapping[str, str] = MappingProxyType({})) -> Has:
        own = {one for some in self._node.config.node.addresses.values() for one in some}
        facts = links.device_facts(devices)
        present = [device for device, one in facts.items() if one.present]
        return Has(addresses=sorted(own, key=str), devices=present, kept=dict(kept))

    def search(self, offer: Offer) -> Search:
        """What the sender says of its devices is believed; its addresses are those of our
        node.toml."""
        node = self._node.config.node
        addresses = next((one.addresses for one in node.peers if one.name == offer.peer), None)
        if addresses is None:  # as of a moment ago
            raise Refused(f"{offer.peer} is no peer in node.toml any more")
        sender = replace(node, name=offer.peer, interfaces=offer.devices, addresses=addresses)
        has = self.has(offer.devices.values())
        return search_between(sender, self._node.config.group, node.name, has)

    def search_for(self, peer: str, has: Has) -> Search:
        return search_between(self._node.config.node, self._node.config.group, peer, has)

    def defined(self, group: str) -> Mapping[str, Section]:
        return load_sections(self._node.config_dir, root=self.root, text=group)[0]

    async def remember(
        self,
        plans: Iterable[Plan],
        *,
        kind: Origin,
        by: str,
        reason: str = "",
        before: bool = False,
    ) -> None:
        await self._revisions.remember(plans, kind=kind, by=by, reason=reason, before=before)

    def remember_soon(
        self, plans: Iterable[Plan], *, kind: Origin, by: str, reason: str = ""
    ) -> None:
        self._revisions.remember_soon(plans, kind=kind, by=by, reason=reason)

    async def settled(self) -> History:
        """The history, when all that was to be remembered is in it."""
        await self._revisions.settled()
        return self.history

    # ------------------------------------------------------------------------------ what is asked

    async def digests(self) -> dict[str, object]:
        """For a peer that asks how we stand: what we agreed to last, and what we have."""
        agreed = await asyncio.to_thread(self.record.read)
        found: dict[str, object] = {}
        for name, section in self._shared(agreed).items():
            one = agreed.get(name)
            look = self._place.standing if one is not None else self._offered
            state: dict[str, object] = {"agreed": None if one is None else asdict(one)}
            try:
                state["live"] = await asyncio.to_thread(look, section)
            except CarpoolError as error:  # of this section, and no matter of the others
                state["why"] = str(error)[:WORDS_MAX]
            found[name] = state
        return {"sections": found, "waiting": self.waits()}

    async def drift(self, wait_s: float = WORK_WAIT_S) -> dict[str, dict[str, object]]:
        """By peer and section: how it stands there, why that is not known, since when it was seen
        so, and when that state was agreed."""
        found = await self.sender.drift(wait_s)
        since = await asyncio.to_thread(self._seen.note, found)
        return {
            peer: {
                name: {
                    "drift": one.drift,
                    "why": one.why,
                    "since": since[peer][name],
                    "agreed": one.agreed.when if one.agreed else None,
                }
                for name, one in stands.items()
            }
            for peer, stands in found.items()
        }

    async def guard(self, *, force: bool) -> None:
        """Whether this node may push: only the master of all, and left alone. Raises Refused."""
        self.meanwhile.refuse_change()
        roles = await self._node.roles()
        others = sorted(vip for vip, role in roles.items() if role != MASTER)
        if force or (roles and not others):
            return
        if not roles:
            raise Refused(
                "failover does not say who is master here",
                hint="start it (`carpool run failover`), or say --force",
            )
        raise Refused(
            f"this node is not MASTER of {', '.join(others)}: changes are made on the primary",
            hint="run it there, or say --force",
        )

    async def sync(
        self, names: Sequence[str], peers: Sequence[str], wish: Wish, around: Around | None = None
    ) -> AsyncIterator[Event]:
        """Each step of a synchronisation with these peers, one after the other, `around` which
        something is done. Raises Refused, also while this node is at another one."""
        await self.guard(force=wish.force)
        with self.sender.at_it(wish.by):
            self.unconfirmed.forget(without=wish.without)  # a peer that still waits says so
            self._revisions.give_way()
            try:
                async with around or nullcontext():
                    async for event in self._sync(names, peers, wish):
                        if event.get("step") == "sent":
                            self._revisions.go_on()
                        yield event
            finally:
                self._revisions.go_on()

    async def _sync(
        self, names: Sequence[str], peers: Sequence[str], wish: Wish
    ) -> AsyncIterator[Event]:
        of_group = CARPOOL in (names or self.selected)
        # First of all: it says what the sections are, which are selected, and who the peers are.
        # With a time limit this node's processes follow when the peers have it: they are put back
        # with them, and by themselves if this agent dies.
        last = of_group and wish.confirm_within_s is not None
        take_up = self.group.look if last else self.group.take_up
        changes = await take_up(force=wish.force) if of_group else []
        chosen = self.sender.chosen(names)
        targets = self.unconfirmed.targets(peers)
        yield {"step": "look", "sections": [one.name for one in chosen]}
        if changes and not last:
            yield {"step": "group", "changes": changes}
        here: dict[str, Manifest] = {}
        async for event in self._own(chosen, wish, here):
            yield event
        agreed = await asyncio.to_thread(self._as_sent, chosen, here)
        failed: list[str] = []
        for peer in targets:
            if wish.whole and failed:
                break
            async for event in self._to(peer, chosen, wish, agreed):
                failed += [peer.name] if event.get("step") == "end" and "error" in event else []
                yield event
        if last and not (wish.whole and failed):
            async for event in self.unconfirmed.follow(wish, len(failed)):
                failed += [self.name] if "error" in event else []
                yield event
        if not (failed or names or peers or wish.confirm_within_s):
            self.complete_s = clock.wall_us() / 1e6
        if of_group and not self.unconfirmed.agreed:
            async for event in self._settle():
                yield event
        yield {"step": "over", "failed": failed}

    async def _to(
        self, peer: Peer, chosen: Sequence[Section], wish: Wish, agreed: dict[str, Agreed]
    ) -> AsyncIterator[Event]:
        """With one peer; what fails there is its `end`."""

        async def has_group() -> None:
            await asyncio.to_thread(self.record.write, {CARPOOL: agreed[CARPOOL]})

        tally = Tally(peer.name, wish.by, wish.reason)
        try:
            async for event in in_turn(self.sender, chosen, peer, wish, has_group):
                tally.take(event)
                if event:
                    yield event
                if event.get("step") == "waiting":
                    self.unconfirmed.agreed = agreed
                elif event.get("step") == "end" and not (
                    "error" in event or event.get("outcome") == "waiting"
                ):
                    await asyncio.to_thread(self.record.write, agreed)
        except CarpoolError as error:
            told = {"error": error.message, "hint": error.hint, "peer": peer.name}
            end = {"step": "end", "outcome": "failed", **told}
            tally.take(end)
            yield end
        await asyncio.to_thread(self.results.add, tally.row)
        self.lapses.follow(tally.row)

    async def pull(self, names: Sequence[str], peer: str, wish: Wish) -> AsyncIterator[Event]:
        """Each step of taking over what was changed on a peer."""
        of_group = False
        async for event in self.puller.pull(names, peer, wish):
            of_group = of_group or event.get("step") == "group"
            if of_group and event.get("step") == "end" and "error" not in event:
                async for told in self._settle():
                    yield told
            yield event

    async def diff(
        self, names: Sequence[str], peers: Sequence[str], wish: Wish
    ) -> dict[str, object]:
        """By peer: what synchronising would change there, or why that cannot be told. With
        group.toml, by what that says now: `sync` takes it up first. Raises Config-, KernelError."""
        if CARPOOL in (names or self.selected):
            chosen, group = await asyncio.to_thread(to_come, self._node, names)
        else:
            chosen, group = self.sender.chosen(names), ""

        async def one(peer: Peer) -> object:
            try:
                return await self.sender.diff(chosen, peer, wish, group)
            except (ConfigError, KernelError):
                raise  # of files of this node: no peer can mend them
            except CarpoolError as error:
                return {"error": error.message, "hint": error.hint}

        targets = self.sender.peers(peers)
        answers = await asyncio.gather(*map(one, targets))
        return {peer.name: answer for peer, answer in zip(targets, answers, strict=True)}

    async def show(self, text: str) -> dict[str, object]:
        """A revision and what it changed, as a diff shows it."""
        await self.settled()
        return await asyncio.to_thread(shown, self.history, self.sections, text)

    def rollback(self, revision: str, names: Sequence[str], *, by: str, force: bool = False) -> Job:
        """Make these sections (or all that the revision changed) what they were in it."""
        number = secrets.token_hex(8)
        return Job(number, f"rollback to {revision}", by, self._back(revision, names, by, force))

    @property
    def stuck(self) -> str:
        """Why the last change of this node could not be put back, or nothing."""
        return self._applier.stuck

    async def confirm(self) -> str:
        """Keep what waits to be confirmed here. Raises Refused."""
        if not self._applier.waiting and await self.unconfirmed.decide_here(keep=True):
            return GROUP_CHANGE
        try:
            what = await self._applier.confirm()
        except (Undone, Stuck) as error:
            await self.receiver.not_confirmed(error)
            raise
        await self.receiver.confirmed()
        return what

    async def take_back(self) -> str:
        """Put back what waits to be confirmed here. Raises Refused."""
        if not self._applier.waiting and await self.unconfirmed.decide_here(keep=False):
            return GROUP_CHANGE
        what = await self._applier.take_back()
        await self.receiver.taken_back()
        return what

    def waits(self) -> dict[str, object] | None:
        """What waits to be confirmed here."""
        return self._applier.waits()

    async def on_peers(self, names: Sequence[str], what: str) -> dict[str, Mapping[str, object]]:
        """`confirm` or `take-back` on these peers, or on all and here; by node what came of it."""
        found = await self.unconfirmed.on_peers(names, what)
        stuck = what != "confirm" and self._applier.stuck
        if not names and (self._applier.waiting or stuck):
            try:
                done = await (self.confirm() if what == "confirm" else self.take_back())
                found[self.name] = {"done": done}
            except CarpoolError as error:
                found[self.name] = {"error": error.message, "hint": error.hint}
        return found

    # -------------------------------------------------------------------------------- private

    def _settle(self) -> AsyncIterator[Event]:
        """With all peers of node.toml: one that the agent cannot ask may go by what was before."""
        names = [one.name for one in self._node.config.node.peers]
        return self.group.settle_all(self.sender.peers(()), names)

    def _synchronised(self) -> dict[str, Section]:
        """What peers may look at. Blocking."""
        return self._shared(self.record.read())

    def _shared(self, agreed: Iterable[str]) -> dict[str, Section]:
        """What is selected, or was agreed on when somebody named it."""
        names = {*self.selected, *agreed} & self.sections.keys()
        return {name: self.sections[name] for name in sorted(names)}

    def _offered(self, section: Section) -> str:
        return digest(self._place.source(section))

    def _as_sent(
        self, chosen: Iterable[Section], here: Mapping[str, Manifest]
    ) -> dict[str, Agreed]:
        """What counts once a peer has it. Otherwise a node that received or pulled a section once,
        and is the primary now, would for ever show as changed since."""
        when = clock.wall_iso()
        return {
            one.name: Agreed(
                self._offered(one), self._place.standing(one, here[one.name]), self.name, when
            )
            for one in chosen
        }

    async def _own(
        self, chosen: Iterable[Section], wish: Wish, here: dict[str, Manifest]
    ) -> AsyncIterator[Event]:
        """What goes out is a revision here too; and templates are rendered here first. What each
        section is then, `here` is told."""
        by = f"{wish.by}@{self._node.config.node.name}"
        stage = self._stage()
        try:
            await asyncio.to_thread(stage.have)  # looked at before several threads use it
            plans = await together(
                asyncio.to_thread(self._own_plan, section, stage) for section in chosen
            )
            rendered = [plan for plan in plans if plan.section.template]
            async for event in self._applier.apply(rendered, what="own templates", by=wish.by):
                if event["step"] != "nothing":
                    yield event
            here |= {plan.section.name: plan.want for plan in plans}
            self.remember_soon(plans, kind="applied", by=by, reason=wish.reason)
        finally:
            stage.remove()

    def _own_plan(self, section: Section, stage: Stage) -> Plan:
        if section.template:
            return self._place.plan(section, self._place.source(section), stage)
        have = self._place.have(section)
        return Plan.of(section, have, have, Contents(self.root, have, stage))

    def _stage(self) -> Stage:
        return self._place.stage(self.state_dir / "sync" / "stages" / secrets.token_hex(8))

    async def _back(
        self, revision: str, names: Sequence[str], by: str, force: bool
    ) -> AsyncIterator[Event]:
        self._applier.refuse_second()
        stage = self._stage()
        try:
            plans = await asyncio.to_thread(
                plans_back, self.history, self.sections, self._place, stage, revision, names
            )
            node = self._node.config.node.name
            await self.remember(plans, kind="found", by=f"{by}@{node}", before=True)
            async for event in self._applier.apply(
                plans, what=f"rollback to {revision}", by=by, force=force
            ):
                yield event
            await self.remember(
                plans, kind="rolled back", by=f"{by}@{node}", reason=f"to {revision}"
            )
            changed = any(plan.changes for plan in plans)
            yield {"step": "end", "outcome": "applied" if changed else "nothing to do"}
        finally:
            stage.remove()
