"""What a transaction is going to do, worked out and checked before anything is touched.

Room: kernel. Compares every change with the disk, looks users up, finds where new files can wait,
and counts the room that they need. Changes nothing; `kernel/swaphands.py` carries the steps out.
"""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from carpool.errors import KernelError, PeerError
from carpool.kernel.owners import Owners
from carpool.kernel.rooted import (
    OWN_PREFIX,
    BlockedError,
    Rooted,
    check_path,
    check_target,
    kind_of,
)
from carpool.model.manifest import Change, Deed, Entry, Kind

PARENT_MODE = 0o755
_BLOCK_BYTES = 4096  # a file takes whole blocks, and one for what there is to say about it


@dataclass(frozen=True, slots=True)
class Found:
    """What stood at a path: all that is needed to put it back, but for a file's content."""

    inode: int
    size: int
    uid: int
    gid: int
    mode: int
    mtime_ns: int
    xattrs: Mapping[str, str] = field(default_factory=dict)  # values in hexadecimal digits

    def is_still(self, status: os.stat_result) -> bool:
        """Whether this is the same file, with the same content."""
        return (self.inode, self.size, self.mtime_ns) == (
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
        )


@dataclass(frozen=True, slots=True)
class Step:
    """One change, and what carries it out: in this order, and backwards to undo it."""

    number: int
    path: str
    old: Entry | None
    new: Entry | None
    found: Found | None = None  # where there is an `old`
    fresh: str = ""  # where a new file or link waits until it is renamed
    uid: int = 0  # of `new`
    gid: int = 0
    asked: bool = True  # False: a missing parent of what was asked for


@dataclass(frozen=True, slots=True)
class Plan:
    token: str  # in the names of what waits
    steps: tuple[Step, ...]
    touched: Mapping[str, int]  # mtime_ns of the directories that get or lose names

    def to_json(self) -> str:
        return json.dumps(self, default=_fields)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Raises KeyError, TypeError or ValueError for what to_json did not write."""
        data = json.loads(text)
        steps = tuple(_step(one) for one in data["steps"])
        return cls(str(data["token"]), steps, dict(data["touched"]))


def _fields(value: Any) -> dict[str, object]:
    """Of one of our dataclasses; `asdict` would copy all that is in it."""
    return {one.name: getattr(value, one.name) for one in fields(value)}


def _step(data: dict[str, Any]) -> Step:
    old, new, found = (data.pop(name) for name in ("old", "new", "found"))
    return Step(
        old=_entry(old),
        new=_entry(new),
        found=Found(**found) if isinstance(found, dict) else None,
        **data,
    )


def _entry(data: object) -> Entry | None:
    if not isinstance(data, dict):
        return None
    return Entry(**{**data, "kind": Kind(data["kind"])})


def make_plan(changes: Sequence[Change], rooted: Rooted, token: str) -> Plan:
    """Raises PeerError for changes that nobody may ask for, KernelError for those that do not fit
    what is on this node."""
    planner = _Planner(changes, rooted, token)
    for change in changes:
        planner.add(change)
    return Plan(token, tuple(planner.steps), planner.touched)


def check_room(plan: Plan, rooted: Rooted, directory: Path) -> None:
    """Raise KernelError where new files and the snapshot (in `directory`) would not fit."""
    needs: Counter[int] = Counter()
    files: Counter[int] = Counter()
    free: dict[int, tuple[str, os.statvfs_result]] = {}
    snapshots = os.stat(directory).st_dev
    free[snapshots] = str(directory), os.statvfs(directory)
    for step in plan.steps:
        if step.old is not None and step.old.kind is Kind.FILE:
            needs[snapshots] += _blocks(step.old)
            files[snapshots] += 1
        if step.new is None or not (step.fresh or step.new.kind is Kind.DIRECTORY):
            continue
        home = step.fresh.rpartition("/")[0] if step.fresh else _standing(plan, step.path)
        with rooted.directory(home) as descriptor:
            device = os.fstat(descriptor).st_dev
            free.setdefault(device, (home or "/", os.fstatvfs(descriptor)))
        needs[device] += _blocks(step.new)
        files[device] += 1
    for device, need in needs.items():
        where, room = free[device]
        if need > room.f_bavail * room.f_frsize:
            raise KernelError(
                f"the file system of {where} has {room.f_bavail * room.f_frsize // 1024} KiB free "
                f"and {need // 1024} KiB are needed",
                hint="make room there; nothing was changed",
            )
        if room.f_files and files[device] > room.f_favail:  # 0: it counts none
            raise KernelError(
                f"the file system of {where} has room for {room.f_favail} more files and "
                f"{files[device]} are needed",
                hint="remove files there; nothing was changed",
            )


def _blocks(entry: Entry) -> int:
    return (-(-entry.size // _BLOCK_BYTES) + 1) * _BLOCK_BYTES


def _standing(plan: Plan, path: str) -> str:
    """The nearest directory above that the plan found."""
    above = path.rpartition("/")[0]
    while above and above not in plan.touched:
        above = above.rpartition("/")[0]
    return above


def changed(path: str, what: str) -> KernelError:
    return KernelError(
        f"{path} changed on this node meanwhile: {what}",
        hint="look at `carpool diff` and try again",
    )


class _Planner:
    """Goes through the changes in their order, and knows what will be there by then."""

    def __init__(self, changes: Sequence[Change], rooted: Rooted, token: str) -> None:
        self.steps: list[Step] = []
        self.touched: dict[str, int] = {}
        self._rooted = rooted
        self._token = token
        self._owners = Owners()
        self._gone = {one.path for one in changes if one.new is None}
        self._made = {one.path for one in changes if one.new and one.new.kind is Kind.DIRECTORY}
        self._homes: dict[str, str] = {"": ""}  # of a directory: itself, or where it will be below

    def add(self, change: Change) -> None:
        check_path(change.path)
        for entry in (change.old, change.new):
            if entry is not None:
                _check_entry(change.path, entry)
        above = change.path.rpartition("/")[0]
        home = above if change.new is None else self._home(above)
        found = self._found(change, home)
        self._touch(home)
        if change.new is None:
            self._step(change.path, change.old, None, found)
            return
        in_place = change.new.kind is Kind.DIRECTORY or change.deed is Deed.ATTRIBUTES
        fresh = "" if in_place else f"{home}/{OWN_PREFIX}{self._token}-{len(self.steps)}"
        self._step(change.path, change.old, change.new, found, fresh)

    def _step(
        self,
        path: str,
        old: Entry | None,
        new: Entry | None,
        found: Found | None = None,
        fresh: str = "",
        asked: bool = True,
    ) -> None:
        uid = self._owners.uid(new.owner, path) if new else 0
        gid = self._owners.gid(new.group, path) if new else 0
        number = len(self.steps)
        self.steps.append(Step(number, path, old, new, found, fresh, uid, gid, asked))

    def _home(self, directory: str) -> str:
        """The deepest directory of this path that is there and stays. Plans those missing."""
        if directory not in self._homes:
            above = directory.rpartition("/")[0]
            home = self._home(above)
            self._homes[directory] = home
            if home == above and directory not in self._gone and self._stands(directory):
                self._homes[directory] = directory
            elif directory not in self._made:
                self._step(directory, None, self._parent(directory), asked=False)
        return self._homes[directory]

    def _stands(self, directory: str) -> bool:
        try:
            with self._rooted.directory(directory):
                return True
        except FileNotFoundError:
            return False

    def _parent(self, path: str) -> Entry:
        owner, group = self._owners.user(os.geteuid()), self._owners.group(os.getegid())
        return Entry(path, Kind.DIRECTORY, mode=PARENT_MODE, owner=owner, group=group)

    def _touch(self, directory: str) -> None:
        if directory not in self.touched:
            with self._rooted.directory(directory) as descriptor:
                self.touched[directory] = os.fstat(descriptor).st_mtime_ns

    def _found(self, change: Change, home: str) -> Found | None:
        """What is at the path now. Raises KernelError unless it is `old`."""
        path, old = change.path, change.old
        stays = home == path.rpartition("/")[0]  # else the path can only come to be
        if old is None:
            if path in self._gone:
                self._becomes(change)
            elif stays and self._rooted.status(path) is not None:
                raise changed(path, "it is there, and was not")
            return None
        try:
            status = self._rooted.status(path)
        except BlockedError as error:
            raise changed(path, error.message) from error
        if status is None:
            raise changed(path, "it is gone")
        self._compare(old, status)
        if old.kind is Kind.DIRECTORY:
            self.touched.setdefault(path, status.st_mtime_ns)
        return Found(
            inode=status.st_ino,
            size=status.st_size,
            uid=status.st_uid,
            gid=status.st_gid,
            mode=stat.S_IMODE(status.st_mode),
            mtime_ns=status.st_mtime_ns,
            xattrs={} if old.kind is Kind.SYMLINK else self._xattrs(path),
        )

    def _compare(self, old: Entry, status: os.stat_result) -> None:
        kind = kind_of(status)
        found: list[tuple[str, object, object]] = [
            ("kind", kind or "neither file, directory nor link", old.kind),
            ("owner", self._owners.user(status.st_uid), old.owner),
            ("group", self._owners.group(status.st_gid), old.group),
        ]
        if kind is Kind.SYMLINK:
            with self._rooted.parent(old.path) as (here, name):
                found.append(("target", os.readlink(name, dir_fd=here), old.target))
        else:
            found.append(("mode", f"{stat.S_IMODE(status.st_mode):04o}", f"{old.mode:04o}"))
        if kind is Kind.FILE:
            found.append(("size", status.st_size, old.size))
        for what, now, before in found:
            if now != before:
                raise changed(old.path, f"its {what} is {now}, and was {before}")

    def _becomes(self, change: Change) -> None:
        """A directory that becomes something else must have nothing in it that stays."""
        if change.new is None or change.new.kind is Kind.DIRECTORY:
            return
        try:
            with self._rooted.directory(change.path) as here:
                names = sorted(os.listdir(here))
        except (BlockedError, FileNotFoundError):
            return
        stays = next((one for one in names if f"{change.path}/{one}" not in self._gone), None)
        if stays is not None:
            raise KernelError(
                f"{change.path} is to become a {change.new.kind}, but is a directory here with "
                f"{stays}, which does not belong to the section",
                hint="move it away",
            )

    def _xattrs(self, path: str) -> dict[str, str]:
        with self._rooted.opened(path) as descriptor:
            return xattrs_of(descriptor)


def xattrs_of(descriptor: int) -> dict[str, str]:
    """Access lists, labels, capabilities; empty where the file system has none."""
    try:
        return {name: os.getxattr(descriptor, name).hex() for name in os.listxattr(descriptor)}
    except OSError:  # not supported, or gone since it was listed
        return {}


def _check_entry(path: str, entry: Entry) -> None:
    """What a hostile peer could have made up. Raises PeerError."""
    if entry.kind is Kind.SYMLINK:
        check_target(path, entry.target)
    wrong = (
        entry.path != path
        or not 0 <= entry.mode <= 0o7777
        or entry.size < 0
        or (entry.kind is Kind.SYMLINK) != bool(entry.target)
        or (entry.kind is Kind.FILE) != (len(entry.sha256) == 64)
    )
    if wrong:
        raise PeerError(
            f"{path} is described in a way that no file can be: {entry!a}"[:500],
            hint="both nodes should run the same version of carpool",
        )
