"""The nftables files that sections name, loaded by carpool itself in place of their service.

Room: agent. Remembers what the files define that may be loaded (`rulesets.json`), so that after a
kill too what they made can be told from other programs' tables, and from what came while it ran.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from carpool.agent.record import write_whole
from carpool.errors import KernelError
from carpool.kernel import conntrack, nftload
from carpool.kernel.journal import say
from carpool.kernel.nftload import Attempt
from carpool.machine.ruleset import clearings
from carpool.proto.nftlisting import Ruleset, TableName, parse
from carpool.proto.nftscript import Clearing

TRIES_MAX = 4  # while others change the ruleset between our look and the load
CONNECTIONS_FEW = 100  # less may well end by themselves in that time


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of it; `told` are sentences."""

    told: tuple[str, ...]
    connections_before: int  # that the kernel tracked
    connections: int


class Rulesets:
    """`directory` is for what is remembered and for copies; files are below `root`."""

    def __init__(self, directory: Path, root: Path) -> None:
        self._directory = directory
        self._root = root
        self._file = directory / "rulesets.json"

    async def note(self, files: Iterable[str]) -> None:
        """What these files define now, before they are changed. Raises KernelError."""
        for file in files:
            await asyncio.to_thread(self._note, file)

    async def load(self, file: str) -> Loaded:
        """In one transaction. Raises KernelError."""
        return await asyncio.to_thread(self._load, file)

    # -------------------------------------------------------------------------------- private

    def _note(self, file: str) -> None:
        """A file that cannot be read by nft is not what is loaded: what was noted before is."""
        is_open, before = self._read(file)
        try:
            found = [self._defined(file)] if self._path(file).exists() else []
        except KernelError as error:
            say(f"agent: {error}")
            return
        kept = before if is_open else []
        self._write(file, True, found + [one for one in kept if one not in found])

    def _load(self, file: str) -> Loaded:
        _, before = self._read(file)
        new = self._defined(file)
        self._write(file, True, [*before, new])
        loaded = self._over(self._path(file), [parse(one) for one in before], parse(new))
        self._write(file, False, [new])
        for text in loaded.told:
            say(f"agent: {file}: {text}")
        return loaded

    def _over(self, path: Path, before: Sequence[Ruleset], new: Ruleset) -> Loaded:
        """Load it over what is there."""
        connections = conntrack.entries()
        others = nftload.tables() - {*new}.union(*before)
        told, cleared = self._tried(path, before, new)
        gone = sorted(" ".join(name) for name in others - cleared - nftload.tables())
        if gone:
            raise KernelError(
                f"gone after {path} was loaded, which does not define them: {', '.join(gone)}",
                hint="they belong to other programs: restart these",
            )
        now = conntrack.entries()
        if connections >= CONNECTIONS_FEW and now < connections / 2:
            raise KernelError(f"of {connections} connections {now} are left after loading {path}")
        return Loaded(told, connections, now)

    def _tried(
        self, path: Path, before: Sequence[Ruleset], new: Ruleset
    ) -> tuple[tuple[str, ...], frozenset[TableName]]:
        """With all that may stay; else, if nft does not take it so, with nothing of it. What is to
        be told, and the tables that were cleared."""
        last: Mapping[TableName, Clearing] | None = None
        attempt = Attempt("")
        for _ in range(TRIES_MAX):
            found = clearings(parse(nftload.listing()), before, new)
            if found == last:
                break  # nobody interfered: it is the file, or what stays
            attempt = self._attempt(path, found)
            if not attempt.failure:
                return _told(found, attempt), attempt.cleared
            last = found
        found = clearings(parse(nftload.listing()), before, new, keep=False)
        bare = self._attempt(path, found)
        if bare.failure:
            hint = "nothing of the ruleset was changed"
            raise KernelError(f"nft refused {path}: {bare.failure}", hint=hint)
        why = f"sets could not stay as they were: {attempt.failure}"
        return (why, *_told(found, bare)), bare.cleared

    def _attempt(self, path: Path, found: Mapping[TableName, Clearing]) -> Attempt:
        return nftload.attempt(path, self._root, self._directory, found)

    def _path(self, file: str) -> Path:
        return self._root / file.lstrip("/")

    def _defined(self, file: str) -> str:
        return nftload.defined(self._path(file), self._root, self._directory)

    def _read(self, file: str) -> tuple[bool, list[str]]:
        """Whether a load was begun and its end is not known; listings of what may be loaded. What
        is missing or damaged says nothing."""
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, KeyError):
            found = json.loads(self._file.read_text(encoding="utf-8"))[file]
            return bool(found["open"]), [str(one) for one in found["listings"]]
        return False, []

    def _write(self, file: str, is_open: bool, listings: list[str]) -> None:
        """Not synced: what is loaded does not outlive a power cut."""
        content: dict[str, object] = {}
        with contextlib.suppress(OSError, ValueError, TypeError):
            content = dict(json.loads(self._file.read_text(encoding="utf-8")))
        content[file] = {"open": is_open, "listings": listings}
        write_whole(self._file, content, sync=False)


def _told(found: Mapping[TableName, Clearing], attempt: Attempt) -> tuple[str, ...]:
    return tuple(text for name in found if name in attempt.cleared for text in found[name].told)
