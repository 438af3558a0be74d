"""What peers send: taken into a stage, judged, shown as a diff, or applied.

Room: agent. One transfer at a time. Everything from a peer is checked against this node's own
definitions of the sections; refuses to know HTTP.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from carpool import __version__
from carpool.agent.answers import Has
from carpool.agent.apply import Applier, Refused, Stuck
from carpool.agent.hazards import Search, emptied, refuse_emptied
from carpool.agent.historyformat import Origin
from carpool.agent.job import Event, Job
from carpool.agent.outcome import Outcomes
from carpool.agent.plan import Plan
from carpool.agent.record import Agreed, Record
from carpool.agent.results import summary
from carpool.agent.together import together
from carpool.agent.wanted import Place
from carpool.errors import CarpoolError, DefinitionError, PeerError
from carpool.kernel import clock, tree
from carpool.kernel.rooted import Piece, check_path
from carpool.kernel.stage import Stage
from carpool.machine.changes import needed
from carpool.machine.keep import kept_whole
from carpool.model.manifest import Entry, Kind, Manifest, digest, manifest
from carpool.model.section import Section

IDLE_MAX_S = 120.0  # of a transfer whose sender has gone
FILE_MAX_BYTES = 1024 * 1024 * 1024
ENTRIES_MAX = 200_000


@dataclass(slots=True)
class Offer:
    """What a peer wants to be here, and what it says of itself."""

    peer: str
    by: str  # who asked for it over there, in words
    reason: str
    sections: Mapping[str, Iterable[Entry]]
    devices: Mapping[str, str] = field(default_factory=dict)  # logical interface -> device there
    token: str = ""  # its own name for it
    others: Collection[str] = ()  # those that it has under way besides
    looking: bool = False  # it wants to see what would change, and change nothing
    group: str = ""  # who looks: the group.toml that would come first, and define the sections


@dataclass(slots=True)
class _Transfer:
    number: str
    offer: Offer
    sections: Mapping[str, Section]
    stage: Stage
    wanted: dict[str, Manifest]
    sizes: dict[str, int]  # of contents that are missing here, by sha256
    seen_s: float
    since: str
    plans: list[Plan] | None = None
    news: dict[str, Agreed] = field(default_factory=dict)  # what counts when it is kept
    job: Job | None = None


class Receiver:
    """The transfers to this node."""

    def __init__(
        self,
        sections: Mapping[str, Section],
        place: Place,
        applier: Applier,
        record: Record,
        facts: Facts,
        state_dir: Path,
    ) -> None:
        self.sections = sections
        self._place = place
        self._applier = applier
        self._record = record
        self._facts = facts
        self._stages = state_dir / "sync" / "stages"
        self._outcomes = Outcomes(state_dir / "sync")
        self._now: _Transfer | None = None
        self._held: _Transfer | None = None  # it was applied, and waits to be confirmed
        self.last: Job | None = None

    async def begin(self, offer: Offer) -> dict[str, object]:
        """Take an offer: what of it must be sent, what speaks against it, and what the sender must
        know to find out what else does. Raises Refused, and DefinitionError for sections that are
        something else here."""
        self._make_way(offer)
        sections = self.sections
        if offer.looking and offer.group:
            sections = await asyncio.to_thread(self._facts.defined, offer.group)
        unknown = sorted(set(offer.sections) - sections.keys())
        if unknown:
            raise DefinitionError(
                f"unknown here: section {', '.join(unknown)}",
                hint="its definition is in group.toml: synchronise section carpool first",
            )
        wanted = {name: judged(sections[name], entries) for name, entries in offer.sections.items()}
        number = secrets.token_hex(8)
        stage = self._place.stage(self._stages / number)
        self._now = transfer = _Transfer(
            number, offer, sections, stage, wanted, {}, clock.monotonic_s(), clock.wall_iso()
        )
        try:
            return await asyncio.to_thread(self._answer, transfer)
        except CarpoolError:
            self.abandon(number)
            raise

    def put(self, number: str, sha256: str, chunks: Iterable[Piece]) -> None:
        """One content that was asked for. Blocking. Raises PeerError, KernelError."""
        transfer = self._transfer(number)
        if sha256 not in transfer.sizes:
            raise PeerError(f"nobody asked for content {sha256[:16]}")
        transfer.stage.put(sha256, chunks, transfer.sizes[sha256])
        transfer.seen_s = clock.monotonic_s()

    def owned(self, number: str, peer: str) -> None:
        """Raises PeerError when it is not a transfer of this peer."""
        if self._transfer(number).offer.peer != peer:
            raise PeerError(f"that transfer is not one of {peer}")

    async def diff(self, number: str) -> dict[str, object]:
        """What applying it would change, and what speaks against it here."""
        transfer = self._transfer(number)
        if transfer.job is not None:
            raise PeerError("that transfer is applied already", hint="synchronise again")
        plans = await self._plans(transfer)
        found = await self._applier.diff(plans)
        warnings = emptied(plans)
        if self._applier.stuck:
            told = f"the last change could not be put back there: {self._applier.stuck}"
            warnings.insert(0, f"{told}; until it is, nothing can be changed there")
        return {**found, "warnings": warnings, "waiting": self._applier.waits()}

    async def apply(
        self, number: str, *, force: bool, confirm_within_s: float | None, restart: bool = False
    ) -> Job:
        """Begin to apply it. Raises Refused. The job goes on when the sender is gone."""
        transfer = self._transfer(number)
        if transfer.offer.looking:
            raise PeerError("that was offered to look at it only", hint="synchronise again")
        if transfer.job is None and not force:
            await self._guard(transfer)
            self._transfer(number)  # it may have made way for another offer
        if transfer.job is not None:  # asked twice at once
            return transfer.job
        steps = self._steps(
            transfer, confirm_within_s=confirm_within_s, restart=restart, force=force
        )
        offer = transfer.offer
        transfer.job = self.last = Job(number, _what(offer), f"{offer.by} on {offer.peer}", steps)
        return transfer.job

    async def recover(self, *, put_back: bool, stuck: str = "") -> None:
        """Clear away what arrived for an agent before us, and note what it had kept and not noted
        yet (see `Outcomes`)."""
        await asyncio.to_thread(shutil.rmtree, self._stages, ignore_errors=True)
        news = await asyncio.to_thread(self._outcomes.recover, put_back=put_back, stuck=stuck)
        if news:
            await asyncio.to_thread(self._record.write, news)

    def outcome(self, number: str) -> Event:
        """The last step so far of a transfer that was applied. Raises PeerError for another one."""
        job = self.last
        if job is not None and job.number == number:
            last = job.events[-1] if job.events else {"step": "begun"}
            if last.get("outcome") == "waiting" and not self.waiting:
                return self._outcomes.since(number, last, self._applier.stuck)
            return last
        if (end := self._outcomes.of(number)) is not None:
            return end
        raise PeerError(
            "this node knows nothing of that change: its agent was started anew before it began, "
            "and nothing was changed; or another change came since",
            hint="`carpool diff` shows how it stands",
        )

    def abandon(self, number: str) -> None:
        """Forget a transfer; harmless when there is none of this number, or it is being applied."""
        transfer = self._now
        if transfer is None or transfer.number != number or _at_work(transfer):
            return
        self._now = None
        transfer.stage.remove()

    @property
    def at_work(self) -> bool:
        """Whether a transfer is being applied."""
        return self._now is not None and _at_work(self._now)

    @property
    def is_coming(self) -> bool:
        """Whether a peer is sending what is to be applied."""
        return self._now is not None and not self._now.offer.looking and _is_sent(self._now)

    @property
    def waiting(self) -> bool:
        """Whether a change of this node waits to be confirmed."""
        return bool(self._applier.waiting)

    @property
    def busy(self) -> str:
        """Who is at it, in words; or nothing."""
        transfer = self._now or (self._held if self.waiting else None)
        if transfer is None:
            return ""
        return f"{transfer.offer.by} on {transfer.offer.peer} since {transfer.since}"

    # -------------------------------------------------------------------------------- private

    def _make_way(self, offer: Offer) -> None:
        """For a new transfer, if there is room for one. Raises Refused."""
        transfer = self._now
        if not self.at_work:
            refuse = self._applier.refuse_look if offer.looking else self._applier.refuse_second
            refuse()
        if not self.waiting:
            self.forget()  # its time was up
        if transfer is None:
            return
        theirs = transfer.offer
        is_left = theirs.peer == offer.peer and theirs.token not in offer.others
        if _at_work(transfer) or (_is_sent(transfer) and not is_left):
            raise Refused(f"already at it: {self.busy}", hint="wait until that has ended")
        self.abandon(transfer.number)

    def _transfer(self, number: str) -> _Transfer:
        if self._now is None or self._now.number != number:
            raise PeerError("no such transfer here (any more)", hint="synchronise again")
        self._now.seen_s = clock.monotonic_s()
        return self._now

    def _answer(self, transfer: _Transfer) -> dict[str, object]:
        present: set[str] = set()
        changed_here: list[str] = []
        kept: dict[str, str] = {}
        agreed = self._record.read()
        sections = transfer.sections
        held = self._held.offer.sections if self._held is not None else ()  # nobody agreed yet
        for name in transfer.wanted:
            have = self._place.have(sections[name])
            present |= {entry.sha256 for entry in have.values()}
            section, wanted = sections[name], transfer.wanted[name]
            kept |= self._place.lines_kept(section, have)
            mine = {path: one for path, one in have.items() if not kept_whole(path, section.keep)}
            same = digest(mine) == digest(wanted)  # whoever brought it here
            if name in agreed and name not in held and not same:
                if self._place.standing(section, have) != agreed[name].live:
                    changed_here.append(name)
        for entries in transfer.wanted.values():
            files = {one.sha256: one.size for one in entries.values() if one.kind is Kind.FILE}
            transfer.sizes |= {sha: files[sha] for sha in needed(entries, frozenset(present))}
        transfer.stage.check_room(transfer.sizes.values())
        has = self._facts.has(transfer.offer.devices.values(), kept)
        return {
            "number": transfer.number,
            "need": list(transfer.sizes),
            "changed_here": changed_here,
            "has": has.model_dump(mode="json"),
            "version": __version__,
            "wall_s": clock.wall_us() / 1e6,
        }

    async def _plans(self, transfer: _Transfer) -> list[Plan]:
        if transfer.plans is None:
            missing = transfer.sizes.keys() - transfer.stage.have()
            if missing:
                raise PeerError(f"{len(missing)} contents have not arrived yet")
            transfer.plans = [
                await asyncio.to_thread(
                    self._place.plan, transfer.sections[name], entries, transfer.stage
                )
                for name, entries in transfer.wanted.items()
            ]
        return transfer.plans

    async def _guard(self, transfer: _Transfer) -> None:
        """What a peer may overwrite here only by force."""
        if await self._facts.is_master():
            raise Refused(
                "this node is MASTER: a backup must not overwrite the master by mistake",
                hint="synchronise from this node, or say --force",
            )
        refuse_emptied(await self._plans(transfer))

    async def _steps(
        self, transfer: _Transfer, *, confirm_within_s: float | None, restart: bool, force: bool
    ) -> AsyncIterator[Event]:
        offer = transfer.offer
        plans = await self._plans(transfer)
        count = sum(len(plan.changes) for plan in plans)
        yield {"step": "plan", "changes": count, "sections": summary(plans)}
        changed = any(plan.changes for plan in plans)
        if changed:
            await asyncio.to_thread(self._outcomes.begin, transfer.number, _what(offer))
        await self._facts.remember(plans, kind="found", by=f"{offer.by}@{offer.peer}", before=True)
        waiting = restarted = False
        applying = self._applier.apply(
            plans,
            what=_what(offer),
            by=f"{offer.by} on {offer.peer}",
            confirm_within_s=confirm_within_s,
            restart=restart,
            keep=lambda: self._keep(transfer),
            force=force,
        )
        try:
            async for event in applying:
                if event["step"] == "waiting":
                    waiting, self._held, self._now = True, transfer, None
                restarted = restarted or event["step"] == "restart"
                yield event
        except CarpoolError as error:
            if changed:
                await self._failed(transfer, error)
            raise
        if not waiting:
            await self._agreed(transfer)
        outcome = "waiting" if waiting else "applied"
        if not changed:
            outcome = "services restarted" if restarted else "nothing to do"
        end = {"step": "end", "outcome": outcome}
        if changed:
            await asyncio.to_thread(self._outcomes.end, end)
        yield end

    async def confirmed(self) -> None:
        """What waited is kept."""
        if self._held is not None:
            await self._agreed(self._held)
            await asyncio.to_thread(self._outcomes.end, {"step": "end", "outcome": "applied"})

    async def taken_back(self) -> None:
        """What waited is put back, because somebody said so."""
        if self._held is not None:
            await asyncio.to_thread(self._outcomes.end, {"step": "end", "outcome": "put back"})
            self.forget()

    async def not_confirmed(self, error: CarpoolError) -> None:
        """What waited could not be kept."""
        if (held := self._held) is not None:
            await self._failed(held, error)
            self.forget()

    async def _failed(self, transfer: _Transfer, error: CarpoolError) -> None:
        """It does not count, although it was to be kept a moment ago."""
        transfer.news = {}
        end = {"step": "end", "outcome": "failed", "error": error.message, "hint": error.hint}
        stuck = isinstance(error, Stuck)  # what becomes of it, the journal says
        await asyncio.to_thread(self._outcomes.end, None if stuck else end)

    def forget(self) -> None:
        """What waited has been put back."""
        if self._held is not None:
            self._held.stage.remove()
            self._held = None

    async def _agreed(self, transfer: _Transfer) -> None:
        """It is what counts from now on: for drift, and in the history."""
        plans = transfer.plans or []
        offer = transfer.offer
        if not transfer.news:  # nothing was changed, so that nothing was kept
            await self._keep(transfer)
        await asyncio.to_thread(self._record.write, transfer.news)
        self._facts.remember_soon(
            plans, kind="received", by=f"{offer.by}@{offer.peer}", reason=offer.reason
        )
        transfer.stage.remove()
        if self._now is transfer:
            self._now = None
        elif self._held is transfer:
            self._held = None

    async def _keep(self, transfer: _Transfer) -> None:
        """What counts once the files that are here now are kept, noted before they are."""
        plans = transfer.plans or []
        found = await together(
            asyncio.to_thread(self._place.standing, plan.section) for plan in plans
        )
        when = clock.wall_iso()
        for plan, live in zip(plans, found, strict=True):
            name = plan.section.name
            source = digest(transfer.wanted[name])
            transfer.news[name] = Agreed(source, live, transfer.offer.peer, when)
        if any(plan.changes for plan in plans):
            await asyncio.to_thread(self._outcomes.keep, transfer.news)


class Facts:
    """What a transfer must know of this node; the agent is it."""

    name: str  # of this node

    @property
    def devices(self) -> Mapping[str, str]:
        """Its own, by logical interface."""
        raise NotImplementedError

    def has(self, devices: Iterable[str], kept: Mapping[str, str] = MappingProxyType({})) -> Has:
        """Its addresses, and which of these devices are here. Blocking. Raises KernelError."""
        raise NotImplementedError

    def search(self, offer: Offer) -> Search:
        """What finds values of the sender's in a file that would not be right here. Blocking.
        Raises Refused, KernelError."""
        raise NotImplementedError

    def search_for(self, peer: str, has: Has) -> Search:
        """What finds our values in a file that would not be right on a peer that has this."""
        raise NotImplementedError

    def defined(self, group: str) -> Mapping[str, Section]:
        """The sections as this group.toml would define them here. Blocking."""
        raise NotImplementedError

    async def is_master(self) -> bool:
        raise NotImplementedError

    async def remember(
        self,
        plans: Iterable[Plan],
        *,
        kind: Origin,
        by: str,
        reason: str = "",
        before: bool = False,
    ) -> None:
        """A revision of these sections in the history."""
        raise NotImplementedError

    def remember_soon(
        self, plans: Iterable[Plan], *, kind: Origin, by: str, reason: str = ""
    ) -> None:
        """The same, without waiting for it."""
        raise NotImplementedError


def judged(section: Section, entries: Iterable[Entry]) -> Manifest:
    """The entries of a peer for this section. Raises PeerError for those that do not belong there:
    a hostile path, or one that this node's own definition does not hold."""
    found: dict[str, Entry] = {}
    is_left_out = tree.left_out(section)
    for entry in entries:
        check_path(entry.path)
        where = f"section {section.name}: {entry.path}"
        if not section.holds(entry.path):
            raise DefinitionError(
                f"{where} does not belong to it by this node's definition",
                hint="do both nodes run the same version, with the same [section] in group.toml?",
            )
        if entry.path in found:
            raise PeerError(f"{where} comes twice")
        if entry.kind is Kind.FILE and not 0 <= entry.size <= FILE_MAX_BYTES:
            raise PeerError(
                f"{where} has {entry.size} bytes, expected {FILE_MAX_BYTES} at most",
                hint=f"exclude what is no configuration: [section.{section.name}] in group.toml",
            )
        if not 0 <= entry.mode <= 0o7777:
            raise PeerError(f"{where} has mode {entry.mode}")
        if entry.kind is Kind.FILE and not _is_sha256(entry.sha256):
            raise PeerError(f"{where} has no digest")
        if is_left_out(entry.path):
            continue  # that is ours alone
        found[entry.path] = entry
        if len(found) > ENTRIES_MAX:
            raise PeerError(f"section {section.name} has more than {ENTRIES_MAX} entries")
    for entry in found.values():
        above = found.get(entry.path.rpartition("/")[0])
        if above is not None and above.kind is not Kind.DIRECTORY:
            raise PeerError(f"section {section.name}: {entry.path} lies below what is no directory")
    return manifest(found.values())


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def _at_work(transfer: _Transfer) -> bool:
    return transfer.job is not None and not transfer.job.ended


def _is_sent(transfer: _Transfer) -> bool:
    return transfer.job is None and clock.monotonic_s() - transfer.seen_s < IDLE_MAX_S


def _what(offer: Offer) -> str:
    return f"sync of {', '.join(offer.sections)}"
