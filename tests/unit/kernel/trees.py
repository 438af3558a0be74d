"""Trees for the tests of transactions: made from values, looked at to the last byte, exchanged."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from carpool.kernel.transaction import Transaction
from carpool.kernel.tree import Digests, scan
from carpool.machine.changes import changes
from carpool.model.manifest import Change, Entry, Manifest
from carpool.model.section import Section

SECTION = Section("site", ("/etc/site/",))
IN_MEMORY = "/dev/shm"  # for tests that would wait for a disk's syncs most of their time
Node = tuple[str, int, bytes]  # "file", "dir" or "link", its mode, its content or target
Tree = Mapping[str, Node]  # by path below /etc/site; parents come first
Seen = dict[str, tuple[object, ...]]


def build(root: Path, tree: Tree) -> None:
    """Make it, with times of modification that no clock would give."""
    top = root / "etc/site"
    top.mkdir(parents=True)
    for name, (kind, mode, content) in tree.items():
        path = top / name
        if kind == "dir":
            path.mkdir()
        elif kind == "link":
            path.symlink_to(content.decode())
        else:
            path.write_bytes(content)
        if kind != "link":
            path.chmod(mode)
    for number, path in enumerate(sorted(top.rglob("*"), reverse=True)):
        moment = 1_000_000_000_123_456_789 + number * 1_000_000_007
        os.utime(path, ns=(moment, moment), follow_symlinks=False)
    for path in (top, top.parent):
        os.utime(path, ns=(999_999_999_000_000_001,) * 2)


def seen(root: Path, *, times: bool = True) -> Seen:
    """Everything below a directory that can be seen of it, but for inodes."""
    found: Seen = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content: object = None
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        found[str(path.relative_to(root))] = (
            stat.filemode(status.st_mode),
            status.st_uid,
            status.st_gid,
            status.st_mtime_ns if times else 0,
            content,
            tuple((name, os.getxattr(path, name)) for name in os.listxattr(path))
            if not path.is_symlink()
            else (),
        )
    return found


def look(root: Path) -> Manifest:
    return scan(SECTION, Digests(), root)


@dataclass(frozen=True, slots=True)
class Swap:
    """What makes the tree below `here` that below `there`."""

    here: Path
    there: Path
    state: Path  # the transaction's own directory

    def changes(self) -> list[Change]:
        return changes(look(self.here), look(self.there))

    def source(self, entry: Entry) -> Path:
        return self.there / entry.path[1:]

    def transaction(self, tell: Callable[[str], None] = lambda _act: None) -> Transaction:
        return Transaction(self.state, self.here, tell=tell)

    def prepared(self, tell: Callable[[str], None] = lambda _act: None) -> Transaction:
        made = self.transaction(tell)
        made.prepare(self.changes(), self.source, {"reason": "test"})
        return made

    def left(self, tell: Callable[[str], None] = lambda _act: None) -> Transaction | None:
        return Transaction.left(self.state, self.here, tell=tell)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
