"""What was agreed last, section by section: the ground on which drift is told.

Room: agent. One file of JSON in the state directory, written whole or not at all.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from carpool.errors import KernelError
from carpool.model.section import Drift


@dataclass(frozen=True, slots=True)
class Agreed:
    """A section as it was when it was last received, sent or pulled."""

    source: str  # digest of the other node's manifest; on the primary: of its own
    live: str  # digest of what it became here, rendered, without what is kept
    peer: str  # whom it came from; on the primary: its own name
    when: str  # RFC 3339


class Record:
    """`agreed.json` in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "agreed.json"

    def read(self) -> dict[str, Agreed]:
        """By section. A file that is missing or damaged says nothing: then nothing is known."""
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            content = json.loads(self._file.read_text(encoding="utf-8"))
            return {str(name): Agreed(**fields) for name, fields in content.items()}
        return {}

    def write(self, news: dict[str, Agreed]) -> None:
        """These sections anew, the others as they were. Raises KernelError."""
        write_whole(self._file, {name: asdict(one) for name, one in (self.read() | news).items()})


def write_whole(path: Path, content: object, *, sync: bool = True) -> None:
    """This JSON, whole or not at all, for root alone; with `sync` it is on the disk then. Blocking.
    Raises KernelError."""
    fresh = path.with_name(f".{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(fresh, flags, 0o600), "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        fresh.replace(path)
        if sync:
            _sync(path.parent)
    except OSError as error:
        raise KernelError(f"write {path}: {error.strerror}") from error


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def drift(source: str, theirs: Agreed | None, live: str | None, shared: str = "") -> Drift:
    """Of a section whose source here is `source`: what a peer agreed to last, and the digest of
    what it has now (None: it does not know the section). `shared`: of what we have without the
    lines that each node keeps, where there are any."""
    if live is None:
        return Drift.UNKNOWN
    if live in (source, shared):
        return Drift.IN_SYNC  # whoever brought it there
    if theirs is None:
        return Drift.UNKNOWN
    if live != theirs.live:
        return Drift.DIFFERS
    return Drift.IN_SYNC if theirs.source == source else Drift.AHEAD
