"""What is in a section: one entry for each file, directory and symbolic link.

Room: model. `kernel/tree.py` makes them from the disk, `machine/changes.py` compares them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter


class Kind(StrEnum):
    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """Owner and group by name, as numbers differ between nodes; "#123" where there is no name."""

    path: str  # absolute
    kind: Kind
    mode: int = 0  # permission bits, 0 to 0o7777; 0 for a symbolic link
    owner: str = ""
    group: str = ""
    size: int = 0  # bytes of a file
    sha256: str = ""  # of a file, 64 hexadecimal digits
    target: str = ""  # of a symbolic link, as it is written there

    def fields(self) -> dict[str, object]:
        """As `asdict` gives them, ten times as fast: there may be 100,000 entries."""
        return {name: getattr(self, name) for name in self.__slots__}


Manifest = Mapping[str, Entry]  # by path


def manifest(entries: Iterable[Entry]) -> dict[str, Entry]:
    """Entries by path, in the order of their paths."""
    return {entry.path: entry for entry in sorted(entries, key=attrgetter("path"))}


def digest(entries: Manifest) -> str:
    """One fingerprint of all: equal where and only where the manifests are. 64 hex digits."""
    rows = [_row(entries[path]) for path in sorted(entries)]
    return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()


_row = attrgetter(*Entry.__slots__)


class Deed(StrEnum):
    """What becomes of a path."""

    ADDED = "added"
    CHANGED = "changed"  # its content, or a link's target
    REMOVED = "removed"
    ATTRIBUTES = "attributes"  # mode or owner alone


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs: `old` is what is there, `new` what shall be."""

    path: str
    old: Entry | None
    new: Entry | None

    @property
    def deed(self) -> Deed:
        if self.old is None:
            return Deed.ADDED
        if self.new is None:
            return Deed.REMOVED
        same = ("kind", "sha256", "target")
        alike = all(getattr(self.old, name) == getattr(self.new, name) for name in same)
        return Deed.ATTRIBUTES if alike else Deed.CHANGED
