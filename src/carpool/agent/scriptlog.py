"""What hooks and checks did: in the log of the agent, and among the events.

Room: agent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from carpool.api.clean import clean
from carpool.kernel.journal import Journal, say
from carpool.kernel.scripts import scan
from carpool.model.scripts import Flaw

Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class Clocks:
    now_s: Callable[[], float]
    wall_iso: Callable[[], str]


def event_of(kind: str, text: str, clocks: Clocks) -> Row:
    """One of the agent's own, as failover's are: of no virtual host."""
    return {
        "time": clocks.wall_iso(),
        "monotonic_s": round(clocks.now_s(), 6),
        "kind": kind,
        "vhost": None,
        "old": None,
        "new": None,
        "text": text,
    }


class ScriptLog:
    """Of the scripts of one directory; `kind` is that of their events."""

    def __init__(self, kind: str, directory: Path, journal: Journal, clocks: Clocks) -> None:
        self.kind = kind
        self.directory = directory
        self.clocks = clocks
        self._journal = journal
        self._flaws: list[Flaw] = []

    async def look(self) -> list[str]:
        """Those that can be run now; what keeps a file from it is told once."""
        names, flaws = await asyncio.to_thread(scan, self.directory)
        for flaw in flaws:
            if flaw not in self._flaws:
                where = flaw.name or str(self.directory)
                found = f"found {clean(flaw.found)}, expected {flaw.expected} ({flaw.hint})"
                self.record(f"{clean(where)} is not run: {found}")
        self._flaws = flaws
        return names

    def record(self, text: str, row: Row | None = None) -> None:
        """An event; `row` is for `earlier`."""
        say(f"agent: {self.kind} {text}")
        more = {self.kind: row} if row else {}
        self._journal.add({**event_of(self.kind, text, self.clocks), **more})

    def earlier(self) -> Iterator[Row]:
        """The rows of events that an agent before this one recorded, oldest first."""
        for event in self._journal.last(1000):
            told = event.get(self.kind)
            if isinstance(told, dict):
                yield told

    def about(self, rows: list[Row]) -> Mapping[str, object]:
        """For who asks."""
        flaws = [asdict(flaw) for flaw in self._flaws]
        return {"directory": str(self.directory), f"{self.kind}s": rows, "flaws": flaws}
