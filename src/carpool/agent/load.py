"""What of a synchronisation goes over the wire, counted while it goes.

Room: agent. Refuses to know where it goes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from carpool.model.manifest import Entry


@dataclass(slots=True)
class Load:
    """What goes to a peer, and how much of it has gone."""

    files: int = 0
    files_all: int = 0
    size: int = 0
    size_all: int = 0  # with what the stream needs itself

    def gone(self) -> dict[str, int]:
        """How far it is."""
        return {
            "files": self.files,
            "files_all": self.files_all,
            "bytes": self.size,
            "bytes_all": self.size_all,
        }

    def counted(self, files: Iterable[tuple[Entry, Path]]) -> Iterator[tuple[Entry, Path]]:
        for one in files:
            yield one
            self.files += 1

    async def weighed(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            yield chunk
            self.size += len(chunk)
