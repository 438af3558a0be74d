"""What was changed on a peer, taken over here: a change made in an emergency comes home.

Room: agent. The peer's answers are judged like an offer of its (`receive.py`), and applied as any
change (`apply.py`); `give.py` is the other side. Refuses to know how requests travel.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from carpool.agent.answers import SectionBody, checked
from carpool.agent.apply import Applier, Refused
from carpool.agent.bundle import CONTENTS_MAX_BYTES, HEADER_BYTES, in_thread, unbundle
from carpool.agent.client import PeerClient as Peer
from carpool.agent.hazards import found_hazards, refuse_hazards, warnings_of
from carpool.agent.job import Event
from carpool.agent.plan import Plan
from carpool.agent.receive import Facts, Offer, Receiver, judged
from carpool.agent.record import Agreed, Record
from carpool.agent.results import summary
from carpool.agent.send import PREFIX, WORK_WAIT_S, Sender, Stand, Wish
from carpool.agent.together import watched
from carpool.agent.wanted import Place
from carpool.errors import CarpoolError, PeerError
from carpool.kernel import clock
from carpool.kernel.rooted import Piece
from carpool.kernel.stage import Stage
from carpool.machine.changes import needed
from carpool.machine.preflight import Hazard
from carpool.model.manifest import Kind, Manifest, digest, manifest
from carpool.model.section import Drift, Section


@dataclass(slots=True)
class _Haul:
    """What a peer has, on its way to here."""

    offer: Offer  # as if the peer had offered it
    stage: Stage
    given: dict[str, str] = field(default_factory=dict)  # digests of its manifests, by section
    plans: list[Plan] = field(default_factory=list)
    files: int = 0  # that have come
    size: int = 0
    files_all: int = 0  # that were asked for
    size_all: int = 0

    def come(self) -> dict[str, int]:
        """How far it is."""
        return {
            "files": self.files,
            "files_all": self.files_all,
            "bytes": self.size,
            "bytes_all": self.size_all,
        }

    def counted(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        for piece in pieces:
            self.size += len(piece)
            yield piece
        self.files += 1


class Puller:
    """The side of the node that takes over."""

    def __init__(
        self,
        sender: Sender,
        receiver: Receiver,
        place: Place,
        applier: Applier,
        record: Record,
        facts: Facts,
        stages: Path,
    ) -> None:
        self._sender = sender
        self._receiver = receiver
        self._place = place
        self._applier = applier
        self._record = record
        self._facts = facts
        self._stages = stages

    async def diff(self, names: Sequence[str], peer_name: str) -> dict[str, object]:
        """What a pull would change here, and what speaks against it."""
        peer = self._sender.peer(peer_name)
        sections, both = await self._chosen(names, peer)
        haul = _Haul(Offer(peer.name, "", "", {}), self._stage())
        try:
            await self._fetch(sections, peer, haul)
            found = await self._applier.diff(haul.plans)
            hazards = await self._hazards(haul)
        finally:
            haul.stage.remove()
        changed = [f"{name} was changed on this node, too: only by --force" for name in both]
        return {**found, "warnings": [*changed, *map(str, hazards)]}

    async def pull(self, names: Sequence[str], peer_name: str, wish: Wish) -> AsyncIterator[Event]:
        """Each step. Raises Refused, PeerError, UnreachableError and Undone: nothing is changed."""
        peer = self._sender.peer(peer_name)
        with self._sender.at_it(wish.by):
            if self._receiver.at_work:
                raise Refused(f"already at it: {self._receiver.busy}", hint="wait for its end")
            self._applier.refuse_second()
            sections, both = await self._chosen(names, peer)
            if both and not wish.force:
                raise Refused(
                    f"{', '.join(both)}: changed on this node, too, since {peer.name} had it last",
                    hint="--dry-run shows what would be lost, --force takes what the peer has; "
                    "`carpool history` keeps the rest",
                )
            haul = _Haul(Offer(peer.name, wish.by, wish.reason, {}), self._stage())
            try:
                if sections:
                    async for event in self._steps(sections, peer, haul, wish):
                        yield event
                else:
                    yield {"step": "end", "outcome": "nothing to do"}
            finally:
                haul.stage.remove()

    # -------------------------------------------------------------------------------- private

    async def _chosen(self, names: Sequence[str], peer: Peer) -> tuple[list[Section], list[str]]:
        """These sections, or those that were changed on the peer; and which of them were changed
        here as well, since the peer had them."""
        sections = self._sender.chosen(names)
        stands = await self._sender.stands(sections, peer)
        if not names:
            sections = [one for one in sections if stands[one.name].drift is Drift.DIFFERS]
        return sections, [one.name for one in sections if _changed_here(stands[one.name])]

    async def _steps(
        self, sections: Sequence[Section], peer: Peer, haul: _Haul, wish: Wish
    ) -> AsyncIterator[Event]:
        names = [one.name for one in sections]
        yield {"step": "ask", "peer": peer.name, "sections": names}
        fetching = asyncio.create_task(self._fetch(sections, peer, haul))
        async for came in watched(fetching, haul.come):
            yield {"step": "getting", "peer": peer.name, **came}
        await fetching
        yield {"step": "got", "peer": peer.name, "files": haul.files, "bytes": haul.size}
        plans = haul.plans
        hazards = await self._hazards(haul)
        if not wish.force:
            refuse_hazards(hazards, "this node", peer.name)
        by = f"{wish.by}@{self._facts.name}"
        await self._facts.remember(plans, kind="found", by=by, before=True)
        count = sum(len(plan.changes) for plan in plans)
        yield {"step": "plan", "changes": count, "sections": summary(plans)}
        for warning in warnings_of(hazards):
            yield warning
        what = f"pull of {', '.join(names)} from {peer.name}"
        async for event in self._applier.apply(plans, what=what, by=wish.by, force=wish.force):
            yield event
        await self._facts.remember(plans, kind="pulled", by=by, reason=wish.reason)
        changed = any(plan.changes for plan in plans)
        trouble = await self._agree(haul, peer, wish)
        yield {"step": "end", "outcome": "applied" if changed else "nothing to do", **trouble}

    async def _hazards(self, haul: _Haul) -> list[Hazard]:
        return await asyncio.to_thread(
            lambda: found_hazards(self._facts.search(haul.offer), haul.plans)
        )

    async def _agree(self, haul: _Haul, peer: Peer, wish: Wish) -> dict[str, str]:
        """Both sides remember that this is what counts; what is to be told if the peer does not.

        The peer is told by a request of its own. A sync by force would come to the same, but would
        write there and reload services for what each node has its own way, and would overwrite
        what somebody changes there in this very moment; this way the peer refuses then.
        """
        news: dict[str, Agreed] = {}
        told: dict[str, object] = {}
        for plan in haul.plans:
            name, given = plan.section.name, haul.given[plan.section.name]
            live = await asyncio.to_thread(self._place.standing, plan.section)
            source = digest(await asyncio.to_thread(self._place.source, plan.section))
            news[name] = Agreed(given, live, peer.name, clock.wall_iso())
            told[name] = {"pulled": given, "source": source}
        await asyncio.to_thread(self._record.write, news)
        body = {"by": wish.by, "reason": wish.reason, "sections": told}
        try:
            await peer.post(f"{PREFIX}/agreed", body, timeout_s=WORK_WAIT_S)
        except CarpoolError as error:
            return {
                "error": f"this node has it, but {peer.name} does not know: {error.message}",
                "hint": "until it does, its configuration shows as changed over there: "
                f"`carpool pull {peer.name}` again tells it",
            }
        return {}

    async def _fetch(self, sections: Iterable[Section], peer: Peer, haul: _Haul) -> None:
        """Manifests and contents, judged by our own definitions, and what becomes of them here."""
        for section in sections:
            path = f"{PREFIX}/sections/{section.name}"
            answer = await peer.get(path, timeout_s=WORK_WAIT_S)
            body = await asyncio.to_thread(checked, SectionBody, answer, peer.name)
            haul.offer.devices = body.devices
            entries = [one.entry() for one in body.entries]
            wanted = judged(section, entries)
            haul.given[section.name] = digest(manifest(entries))
            await self._contents(section, wanted, peer, haul)
            plan = await asyncio.to_thread(self._place.plan, section, wanted, haul.stage)
            haul.plans.append(plan)

    async def _contents(self, section: Section, wanted: Manifest, peer: Peer, haul: _Haul) -> None:
        """Those that are neither here nor in the stage."""
        have = await asyncio.to_thread(self._place.have, section)
        present = frozenset(one.sha256 for one in have.values()) | haul.stage.have()
        sizes = {one.sha256: one.size for one in wanted.values() if one.kind is Kind.FILE}
        missing = {sha256: sizes[sha256] for sha256 in needed(wanted, present)}
        if not missing:
            return
        size = sum(missing.values())
        if size > CONTENTS_MAX_BYTES:
            raise PeerError(
                f"section {section.name} of {peer.name} has {size} bytes that are not here, "
                f"expected {CONTENTS_MAX_BYTES} at most"
            )
        await asyncio.to_thread(haul.stage.check_room, missing.values())
        left = dict(missing)

        haul.files_all += len(missing)
        haul.size_all += size

        def take(chunks: Iterator[bytes]) -> None:
            for sha256, _size, pieces in unbundle(chunks):
                if sha256 not in left:
                    raise PeerError(f"{peer.name} sent content {sha256[:16]} that nobody asked for")
                haul.stage.put(sha256, haul.counted(pieces), left.pop(sha256))

        body = {"section": section.name, "sha256": list(missing)}
        most = size + HEADER_BYTES * len(missing)
        path = f"{PREFIX}/contents"
        async with aclosing(peer.chunks("POST", path, body, timeout_s=WORK_WAIT_S)) as stream:
            await in_thread(_at_most(stream, most, peer.name), take)
        if left:
            raise PeerError(
                f"{len(left)} contents of section {section.name} did not come from {peer.name}",
                hint="the log of its agent says why; pull again",
            )

    def _stage(self) -> Stage:
        return self._place.stage(self._stages / secrets.token_hex(8))


def _changed_here(stand: Stand) -> bool:
    """What the peer never had from anybody says nothing: who names it, wants it."""
    had = stand.agreed
    return had is not None and had.source != stand.source and had.live != stand.shared


async def _at_most(chunks: AsyncIterator[bytes], most: int, who: str) -> AsyncIterator[bytes]:
    """A stream without end would be read without end."""
    count = 0
    async for chunk in chunks:
        count += len(chunk)
        if count > most:
            raise PeerError(f"{who} sent more than the {most} bytes that were asked for")
        yield chunk
