"""What a peer may take from here, when it pulls what was changed on this node.

Room: agent. `pull.py` is the other side. Gives what this node synchronises and nothing else, and
changes no file; refuses to know HTTP.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from carpool.agent.apply import Refused
from carpool.agent.bundle import bundled
from carpool.agent.plan import Plan
from carpool.agent.receive import Facts, Receiver
from carpool.agent.record import Agreed, Record
from carpool.agent.wanted import Place
from carpool.errors import CarpoolError, PeerError
from carpool.kernel import clock
from carpool.kernel.journal import say
from carpool.model.manifest import Entry, Kind, Manifest, digest
from carpool.model.section import Section

NAMED_MAX = 5  # files in a refusal


@dataclass(frozen=True, slots=True)
class Taken:
    """Digests of what a peer pulled of a section, and of what it has there since."""

    pulled: str
    source: str


class Giver:
    """The side of the node that was changed."""

    def __init__(
        self,
        synchronised: Callable[[], Mapping[str, Section]],
        place: Place,
        record: Record,
        facts: Facts,
        receiver: Receiver,
        stages: Path,
    ) -> None:
        self._synchronised = synchronised
        self._place = place
        self._record = record
        self._facts = facts
        self._receiver = receiver
        self._stages = stages

    async def source(self, name: str) -> dict[str, object]:
        """The manifest of a section, and our devices: some files may hold their names. Raises
        Refused for what is not for peers, and for rendered files that no template accounts for."""

        def look() -> dict[str, object]:
            section = self._section(name)
            entries = self._place.source(section)
            if section.template:
                self._as_rendered(section, entries)
            return {
                "entries": [entry.fields() for entry in entries.values()],
                "devices": dict(self._facts.devices),
            }

        return await asyncio.to_thread(look)

    async def contents(self, name: str, wanted: Collection[str]) -> AsyncIterator[bytes]:
        """A stream of these contents (SHA-256). Raises PeerError for one that the section does not
        have now: a digest opens no other file."""
        section = await asyncio.to_thread(self._section, name)
        entries = await asyncio.to_thread(self._place.source, section)
        files = {one.sha256: one for one in entries.values() if one.kind is Kind.FILE}
        if strange := set(wanted) - files.keys():
            raise PeerError(
                f"section {name} does not hold {len(strange)} of the contents that are asked for",
                hint="its files may have changed meanwhile: pull again",
            )
        root = self._place.source_root(section)
        return _to_the_end([(files[sha256], root) for sha256 in dict.fromkeys(wanted)])

    async def agree(self, peer: str, taken: Mapping[str, Taken], *, by: str, reason: str) -> None:
        """What we have is what counts from now on, for `peer` has it too. Raises Refused when that
        is not so any more; then nothing is agreed."""
        if self._receiver.at_work or self._receiver.waiting:
            raise Refused(
                "a change of this node is under way or waits to be confirmed",
                hint="pull again when that has ended",
            )
        plans, news = await asyncio.to_thread(self._agreed, peer, taken)
        await asyncio.to_thread(self._record.write, news)
        await self._facts.remember(plans, kind="pulled", by=f"{by}@{peer}", reason=reason)

    # -------------------------------------------------------------------------------- private

    def _section(self, name: str) -> Section:
        """Not every section that has a preset: a peer has no business with what is not shared."""
        found = self._synchronised().get(name)
        if found is None:
            raise Refused(
                f"section {name[:64]} is not synchronised here",
                hint="sections = [...] under [sync] in group.toml selects it",
            )
        return found

    def _as_rendered(self, section: Section, entries: Manifest) -> None:
        """Templates alone travel, so a change of a rendered file itself would be lost silently."""
        stage = self._place.stage(self._stages / secrets.token_hex(8))
        try:
            plan = self._place.plan(section, entries, stage)
        finally:
            stage.remove()
        if plan.changes:
            paths = [change.path for change in plan.changes]
            more = f" and {len(paths) - NAMED_MAX} more" if len(paths) > NAMED_MAX else ""
            raise Refused(
                f"section {section.name}: {', '.join(paths[:NAMED_MAX])}{more} here is not what "
                "its template gives, and a rendered file cannot be pulled",
                hint="edit the template instead, on the node that pulls, and `carpool sync "
                f"{section.name} --force` from there; or name the other sections",
            )

    def _agreed(
        self, peer: str, taken: Mapping[str, Taken]
    ) -> tuple[list[Plan], dict[str, Agreed]]:
        plans: list[Plan] = []
        news: dict[str, Agreed] = {}
        for name, one in taken.items():
            section = self._section(name)
            if digest(self._place.source(section)) != one.pulled:
                raise Refused(
                    f"section {name} was changed here after it was pulled", hint="pull again"
                )
            have = self._place.have(section)
            plans.append(Plan.of(section, have, have, self._file))
            live = self._place.standing(section, have)
            news[name] = Agreed(one.source, live, peer, clock.wall_iso())
        return plans, news

    def _file(self, entry: Entry) -> Path:
        return self._place.root / entry.path.lstrip("/")


async def _to_the_end(files: Iterable[tuple[Entry, Path]]) -> AsyncIterator[bytes]:
    """The status of the answer is out by now: who reads a stream that ends too early, or a content
    that is not what its digest says, knows; why is told here."""
    try:
        async for chunk in bundled(files):
            yield chunk
    except CarpoolError as error:
        say(f"agent: contents for a peer: {error}")
