"""This node's configuration to its peers: drift, diff, and synchronisation.

Room: agent. Decides whom and what to ask; refuses to know how requests travel (`client.py`) and
what the other side does with them (`receive.py`).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from carpool import __version__
from carpool.agent.answers import Digests, OfferTaken, Waits, checked
from carpool.agent.apply import Refused
from carpool.agent.bundle import HEADER_BYTES, bundled
from carpool.agent.client import PeerClient as Peer
from carpool.agent.hazards import hazards_to_send, refuse_hazards, warnings_of
from carpool.agent.job import Event
from carpool.agent.load import Load
from carpool.agent.receive import Facts
from carpool.agent.record import Agreed, drift
from carpool.agent.together import together, watched
from carpool.agent.wanted import Place
from carpool.errors import CarpoolError, PeerError, UnreachableError
from carpool.kernel import clock
from carpool.machine.preflight import Hazard
from carpool.model.finding import closest
from carpool.model.manifest import Entry, Kind, Manifest, digest
from carpool.model.section import Drift, Section

OUTCOME_WAIT_S = 60.0  # for an answer about what a peer was doing when the link broke
OUTCOME_MAX_S = 3600.0  # for its end, while it answers: checks of sections take long
ASK_AGAIN_S = 0.3
WORK_WAIT_S = 120.0  # a peer reads and writes all files of all sections
ENTRIES_MAX = 200_000  # of one offer: some 50 MB; a peer reads 64 MB
EVENTS_MAX = 10_000  # of one change on a peer
CLOCK_OFF_MAX_S = 60.0  # between two nodes, before it is told
PREFIX = "/v1/peer"


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody on this node asked for."""

    by: str
    reason: str = ""
    force: bool = False
    confirm_within_s: float | None = None
    restart_services: bool = False
    whole: bool = False  # once a peer fails, nobody else gets it
    without: tuple[str, ...] = ()  # peers that are away: they get it when they are back


@dataclass(frozen=True, slots=True)
class Stand:
    """How a section on a peer stands to ours."""

    drift: Drift
    why: str = ""  # it is not known
    source: str = ""  # digest of what we have
    shared: str = ""  # the same without the lines that each node keeps, if there are any
    agreed: Agreed | None = None  # what the peer agreed to last
    silent: bool = False  # the peer does not answer: then this is not how it stands


@dataclass(frozen=True, slots=True)
class _Offered:
    """What a peer took, and has no contents of yet."""

    number: str  # of the transfer
    answer: Mapping[str, object]
    files: Mapping[str, tuple[Entry, Path]]  # that it asked for, by sha256
    hazards: Sequence[Hazard]  # in these


@dataclass(frozen=True, slots=True)
class _Source:
    """Digests of what we have of a section."""

    whole: str = ""
    shared: str = ""  # without the lines that we keep, if there are any
    why: str = ""  # there are none


class Sender:
    """The primary's side."""

    def __init__(
        self,
        sections: Mapping[str, Section],
        selected: Sequence[str],
        place: Place,
        peers: Collection[Peer],
        facts: Facts,
    ) -> None:
        self._sections = sections
        self._selected = selected
        self._place = place
        self._peers = peers
        self._facts = facts
        self.busy = ""  # who synchronises, in words
        self._offers: set[str] = set()  # under way
        self.waits_on: dict[str, Event] = {}  # what waits to be confirmed, by peer, when last asked

    def chosen(self, names: Sequence[str]) -> list[Section]:
        """These sections, or all that are selected. Raises Refused for unknown ones."""
        return chosen_of(self._sections, names or self._selected)

    def peer(self, name: str) -> Peer:
        """Raises Refused."""
        for peer in self._peers:
            if peer.name == name:
                return peer
        names = [peer.name for peer in self._peers]
        known = f"one of {', '.join(names)}" if names else "there is none: [sync] in group.toml"
        raise Refused(f"no peer {name}", hint=closest(name, names) or known)

    def peers(self, names: Sequence[str]) -> list[Peer]:
        return [self.peer(name) for name in names] or list(self._peers)

    async def drift(self, wait_s: float = WORK_WAIT_S) -> dict[str, dict[str, Stand]]:
        """By peer and section. Of a peer that has not answered in that time nothing is known."""
        chosen = self.chosen(()) if self._selected else []
        sources = await self._sources(chosen, may_fail=True)

        async def of(peer: Peer) -> dict[str, Stand]:
            try:
                async with asyncio.timeout(wait_s):
                    return await self._stands(peer, sources)
            except CarpoolError as error:
                why = error.message
            except TimeoutError:
                why = f"{peer.name} has not answered within {wait_s:g} s"
            return {name: Stand(Drift.UNKNOWN, why, silent=True) for name in sources}

        peers = list(self._peers)  # as they are now
        answers = await asyncio.gather(*map(of, peers))
        return {peer.name: answer for peer, answer in zip(peers, answers, strict=True)}

    async def stands(self, sections: Sequence[Section], peer: Peer) -> dict[str, Stand]:
        """How these stand over there. Raises PeerError, UnreachableError."""
        return await self._stands(peer, await self._sources(sections))

    async def _sources(
        self, sections: Sequence[Section], *, may_fail: bool = False
    ) -> dict[str, _Source]:
        """By section. One that `may_fail` (a file of it has a name that cannot be sent) says
        nothing of the others; otherwise raises KernelError, ConfigError."""

        def source(section: Section) -> _Source:
            try:
                whole = digest(self._place.source(section))
                return _Source(whole, self._place.without_lines(section))
            except CarpoolError as error:
                if not may_fail:
                    raise
                return _Source(why=str(error))

        found = await together(asyncio.to_thread(source, one) for one in sections)
        return {one.name: digests for one, digests in zip(sections, found, strict=True)}

    async def _stands(self, peer: Peer, sources: Mapping[str, _Source]) -> dict[str, Stand]:
        self.waits_on.pop(peer.name, None)
        answer = checked(
            Digests, await peer.get(f"{PREFIX}/digests", timeout_s=WORK_WAIT_S), peer.name
        )
        if answer.waiting is not None:
            self.waits_on[peer.name] = until(answer.waiting)
        theirs = answer.sections
        found: dict[str, Stand] = {}
        for name, source in sources.items():
            one, why = theirs.get(name), source.why
            if one is None:
                why = why or f"{peer.name} does not synchronise this section"
            elif one.why:
                why = why or f"{peer.name}: {one.why}"
            if one is None or why:
                found[name] = Stand(Drift.UNKNOWN, why, source.whole, source.shared)
                continue
            agreed = Agreed(**one.agreed.model_dump()) if one.agreed else None
            stands = drift(source.whole, agreed, one.live, source.shared)
            found[name] = Stand(stands, "", source.whole, source.shared, agreed)
        return found

    async def diff(
        self, sections: Sequence[Section], peer: Peer, wish: Wish, group: str = ""
    ) -> dict[str, object]:
        """What synchronising would change over there; `group` is the text of a group.toml that goes
        along, and is to define the sections."""
        with self._offering() as token:
            look = {"looking": True, "group": group}
            offered = await self._offer(sections, peer, wish, token, look)
            await self._send(peer, offered, Load())
            try:
                path = f"{PREFIX}/sync/{offered.number}/diff"
                found = await peer.get(path, timeout_s=WORK_WAIT_S)
            finally:
                await self._abandon(peer, offered.number)
        if found.get("waiting") is not None:
            found["waiting"] = until(checked(Waits, found["waiting"], peer.name))  # type: ignore[arg-type]
        warnings = found.get("warnings")
        listed = warnings if isinstance(warnings, list) else []
        told = [*_changed(peer, offered.answer), *oddities(peer.name, offered.answer)]
        return {**found, "warnings": [*told, *listed, *map(str, offered.hazards)]}

    async def sync(
        self, sections: Sequence[Section], peer: Peer, wish: Wish
    ) -> AsyncIterator[Event]:
        """Each step, here and over there, for who is `at_it`. Raises Refused, PeerError,
        UnreachableError; then the peer is as it was, or the message says that this is not known."""
        with self._offering() as token:
            begun_s = clock.monotonic_s()
            yield {"step": "offer", "peer": peer.name, "sections": [one.name for one in sections]}
            with _nothing_changed(peer):
                offered = await self._offer(sections, peer, wish, token)
            for text in oddities(peer.name, offered.answer):
                yield {"step": "warning", "peer": peer.name, "text": text}
            for warning in warnings_of(offered.hazards):
                yield {**warning, "peer": peer.name}
            load = Load()
            sending = asyncio.create_task(self._send(peer, offered, load))
            async for gone in watched(sending, load.gone):
                yield {"step": "sending", "peer": peer.name, **gone}
            with _nothing_changed(peer):
                sent = await sending
            yield {"step": "sent", "peer": peer.name, **sent}
            body = {
                "force": wish.force,
                "confirm_within_s": wish.confirm_within_s,
                "restart_services": wish.restart_services,
            }
            async for event in self._followed(peer, offered.number, body):
                more: Event = {"number": offered.number} if event["step"] == "waiting" else {}
                if event["step"] == "end":
                    more = {"took_s": clock.monotonic_s() - begun_s}
                yield {**event, "peer": peer.name, **more}

    @contextmanager
    def at_it(self, by: str) -> Iterator[None]:
        """One synchronisation or pull at a time from this node. Raises Refused."""
        if self.busy:
            raise Refused(f"already at it: {self.busy}", hint="wait until that has ended")
        self.busy = f"{by} since {clock.wall_iso()}"
        try:
            yield
        finally:
            self.busy = ""

    # -------------------------------------------------------------------------------- private

    async def _followed(
        self, peer: Peer, number: str, body: Mapping[str, object]
    ) -> AsyncIterator[Event]:
        """The peer's steps; when the link breaks, its outcome once it can be asked again."""
        ended, count = False, 0
        try:
            async for event in peer.stream("POST", f"{PREFIX}/sync/{number}/apply", body):
                count += 1
                told = "more steps than any change has" if count > EVENTS_MAX else _amiss(event)
                if told:
                    raise PeerError(
                        f"{peer.name} told {told}; what it does goes on there",
                        hint=f"look at `carpool history` on {peer.name}, then synchronise again",
                    )
                ended = event["step"] == "end"
                yield event
        except UnreachableError as error:
            if ended:
                return
            yield {"step": "link", "error": error.message}
        if not ended:
            yield await self._outcome(peer, number)

    async def _outcome(
        self, peer: Peer, number: str, now_s: Callable[[], float] = clock.monotonic_s
    ) -> Event:
        """What became of a change whose steps can be watched no more."""
        why = "it is not over"
        begun_s = heard_s = now_s()
        while now_s() < min(heard_s + OUTCOME_WAIT_S, begun_s + OUTCOME_MAX_S):
            try:
                answer = await peer.get(f"{PREFIX}/sync/{number}/outcome")
            except UnreachableError as error:
                why = error.message
            except PeerError as error:
                told = f"the link to {peer.name} broke meanwhile; asked what came of it: "
                raise PeerError(told + error.message, hint=error.hint) from error
            else:
                if answer.get("step") == "end" and not _amiss(answer):
                    return answer
                why, heard_s = "it is not over", now_s()
            await asyncio.sleep(ASK_AGAIN_S)
        raise UnreachableError(
            f"the link to {peer.name} broke while it applied the change, and how that ended cannot "
            f"be asked ({why}): it goes on to the end by itself, with the new configuration or the "
            "old one, whole",
            hint=f"look at `carpool history` on {peer.name}, then synchronise again",
        )

    @contextmanager
    def _offering(self) -> Iterator[str]:
        """A peer that holds an offer of ours that is under way no more, as the link broke or an
        agent died, forgets it at the next one."""
        token = secrets.token_hex(8)
        self._offers.add(token)
        try:
            yield token
        finally:
            self._offers.discard(token)

    async def _offer(
        self,
        sections: Sequence[Section],
        peer: Peer,
        wish: Wish,
        token: str,
        look: Mapping[str, object] = MappingProxyType({}),
    ) -> _Offered:
        """Offer them; raises Refused, too, for what speaks against sending what is asked for."""
        found = await together(self._scan(one) for one in sections)  # on all cores
        manifests = {one.name: entries for one, entries in zip(sections, found, strict=True)}
        refuse_many(manifests)
        offer = {
            "by": wish.by,
            "reason": wish.reason,
            "devices": dict(self._facts.devices),
            "token": token,
            "others": sorted(self._offers - {token}),
            "sections": {
                name: [entry.fields() for entry in entries.values()]
                for name, entries in manifests.items()
            },
            **look,
        }
        answer = await peer.post(f"{PREFIX}/sync", offer, timeout_s=WORK_WAIT_S)
        number = answer.get("number")
        if not isinstance(number, str):
            raise PeerError(
                f"{peer.name} took the offer without a number for it",
                hint="does it run the same version of carpool?",
            )
        try:
            changed = _changed(peer, answer)
            if changed and not (wish.force or look):
                raise Refused(
                    "; ".join(changed),
                    hint=f"`carpool diff` shows it, `carpool pull {peer.name}` takes it over, "
                    "--force overwrites it",
                )
            need = answer.get("need")
            wanted = set(need) if isinstance(need, list) else set()
            asked = [
                (section, entry)
                for section in sections
                for entry in manifests[section.name].values()
                if entry.kind is Kind.FILE and entry.sha256 in wanted
            ]
            files = {one.sha256: (one, self._place.source_root(section)) for section, one in asked}
            if strange := wanted - files.keys():
                raise PeerError(f"{peer.name} asks for {len(strange)} contents that nobody offered")
            hazards = await asyncio.to_thread(self._hazards, peer, asked, answer)
            if not (wish.force or look):
                refuse_hazards(hazards, peer.name, self._facts.name)
        except BaseException:
            await self._abandon(peer, number)
            raise
        return _Offered(number, answer, files, hazards)

    def _hazards(
        self, peer: Peer, asked: Iterable[tuple[Section, Entry]], answer: Mapping[str, object]
    ) -> list[Hazard]:
        """What of this would break the peer, or may: only who sends it looks."""
        has = checked(OfferTaken, answer, peer.name).has
        if has is None:
            return []  # an older carpool, which looks itself
        search = self._facts.search_for(peer.name, has)
        return hazards_to_send(search, asked, self._place, has.kept)

    async def _send(self, peer: Peer, offered: _Offered, load: Load) -> dict[str, int]:
        """What the peer asked for; how much it was."""
        files = offered.files
        size = sum(entry.size for entry, _root in files.values())
        load.files_all, load.size_all = len(files), size + HEADER_BYTES * len(files)
        if files:
            path = f"{PREFIX}/sync/{offered.number}/contents"
            contents = load.weighed(bundled(load.counted(files.values())))
            try:
                await peer.put(path, contents, timeout_s=WORK_WAIT_S)
            except BaseException:
                await self._abandon(peer, offered.number)
                raise
        return {"files": len(files), "bytes": size}

    async def _scan(self, section: Section) -> Manifest:
        return await asyncio.to_thread(self._place.source, section)

    async def _abandon(self, peer: Peer, number: str) -> None:
        try:
            await peer.post(f"{PREFIX}/sync/{number}/abandon", {})
        except CarpoolError:
            pass  # it forgets by itself


@contextmanager
def _nothing_changed(peer: Peer) -> Iterator[None]:
    """A link that breaks until all is sent has changed nothing."""
    try:
        yield
    except UnreachableError as error:
        told = f"{error.message}; nothing was changed on {peer.name}"
        raise UnreachableError(told, hint=error.hint) from error


def _amiss(event: Event) -> str:
    """Why this is no step of a change, for a sentence; "" if it is one."""
    if not isinstance(event.get("step"), str):
        return "no step"
    is_over = event["step"] == "end"
    return "no outcome" if is_over and not isinstance(event.get("outcome"), str) else ""


def chosen_of(sections: Mapping[str, Section], names: Sequence[str]) -> list[Section]:
    """Those of these names. Raises Refused for unknown ones, and for none."""
    for name in names:
        if name not in sections:
            raise Refused(f"no section {name}", hint=closest(name, sections))
    if not names:
        raise Refused(
            "no section is selected", hint='sections = ["nftables"] under [sync] in group.toml'
        )
    return [sections[name] for name in names]


def until(waits: Waits) -> Event:
    """With the moment, by our clock, at which it is put back."""
    return {**waits.model_dump(), "until": clock.wall_iso(waits.left_s)}


def _changed(peer: Peer, answer: Mapping[str, object]) -> list[str]:
    """What somebody changed over there, and only --force overwrites: in a sentence, or none."""
    found = answer.get("changed_here")
    if not (isinstance(found, list) and found):
        return []
    names = ", ".join(map(str, found))
    return [f"{names}: changed on {peer.name} itself since it was synchronised last"]


def refuse_many(manifests: Mapping[str, Manifest], entries_max: int = ENTRIES_MAX) -> None:
    """Raises Refused for what a peer would not take, however long we sent."""
    count = sum(map(len, manifests.values()))
    if count > entries_max:
        most = max(manifests, key=lambda name: len(manifests[name]))
        raise Refused(
            f"section {most} has {len(manifests[most])} files and directories, all together have "
            f"{count}, and a peer takes {entries_max} at once",
            hint="exclude what is no configuration, or synchronise one section after the other",
        )


def oddities(peer: str, answer: Mapping[str, object]) -> Iterator[str]:
    """What of a peer that took an offer hinders nothing, and is to be known."""
    version, wall_s = answer.get("version"), answer.get("wall_s")
    if isinstance(version, str) and version != __version__:
        yield (
            f"{peer} runs carpool {version[:64]}, this node {__version__}: its own presets and its "
            "own `carpool check` judge what arrives; install the same version on all nodes"
        )
    if isinstance(wall_s, float) and (off_s := wall_s - clock.wall_us() / 1e6):
        if abs(off_s) > CLOCK_OFF_MAX_S:
            way = "ahead of" if off_s > 0 else "behind"
            yield (
                f"the clock of {peer} is {abs(off_s):.0f} s {way} this node's: what it logs and "
                "remembers has its own dates; nothing else depends on them"
            )
