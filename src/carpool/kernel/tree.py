"""What a section has on this disk: its manifest, and the contents of its files.

Room: kernel. Reads only, and follows no symbolic link. Refuses to know what a section is for, and
what another node has.
"""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

from carpool.errors import KernelError, PeerError
from carpool.kernel import clock
from carpool.kernel.owners import Owners
from carpool.kernel.rooted import (
    OWN_PREFIX,
    Rooted,
    check_path,
    check_target,
    failed,
    kind_of,
    open_here,
    status_here,
)
from carpool.model.manifest import Entry, Kind, manifest
from carpool.model.section import Section

ENTRIES_MAX = 200_000  # of a section; 100,000 take some 60 MB
CHUNK_BYTES = 256 * 1024
READ_TRIES = 3
RACY_US = 2_000_000  # a file system's time stamps are that coarse at most (FAT)

Fingerprint = tuple[int, int, int, int, int]


class Digests:
    """SHA-256 of files by what stat(2) says of them, so that a second scan reads nothing.

    A file that changed within the last two seconds is not remembered: a further change could leave
    it with the same time stamp. The time of the inode decides (ctime), as no program can set it.
    """

    def __init__(
        self, kept_max: int = 2 * ENTRIES_MAX, wall_us: Callable[[], int] = clock.wall_us
    ) -> None:
        self._kept_max = kept_max
        self._wall_us = wall_us
        self._kept: dict[Fingerprint, str] = {}
        self._lock = threading.Lock()  # sections may be scanned in several threads

    def known(self, status: os.stat_result) -> str | None:
        return self._kept.get(fingerprint(status))

    def now_us(self) -> int:
        """Ask before reading a file, and hand it to `remember`."""
        return self._wall_us()

    def remember(self, status: os.stat_result, sha256: str, began_us: int) -> None:
        if began_us - status.st_ctime_ns // 1000 < RACY_US:
            return
        with self._lock:
            self._keep(status, sha256)

    def trust(self, status: os.stat_result, sha256: str) -> None:
        """What is known without reading, however young the file is: this process wrote or hashed it
        by an open descriptor, and nobody else can have written to it since."""
        with self._lock:
            self._keep(status, sha256)

    def _keep(self, status: os.stat_result, sha256: str) -> None:
        while len(self._kept) >= self._kept_max:
            del self._kept[next(iter(self._kept))]  # the oldest
        self._kept[fingerprint(status)] = sha256


def same_content(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether a file has only been renamed or dressed in between: to write sets its time anew."""
    return fingerprint(before)[:-1] == fingerprint(after)[:-1]


def fingerprint(status: os.stat_result) -> Fingerprint:
    """Differs when the file does."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def scan(
    section: Section,
    digests: Digests,
    root: Path = Path("/"),
    *,
    as_on_disk: bool = False,
    entries_max: int = ENTRIES_MAX,
) -> dict[str, Entry]:
    """The section's manifest, without what `exclude` and `nosync` name. Owner and mode are those
    that the section asks for, if it does, unless `as_on_disk`: a transaction compares with the
    disk. Raises KernelError."""
    walk = _Walk(section, digests, Rooted(root), entries_max)
    for path in section.paths:
        walk.own(path)
    if as_on_disk or (not section.owner and section.mode is None):
        return manifest(walk.found.values())
    return manifest(_as_asked(section, entry) for entry in walk.found.values())


def left_out(section: Section) -> Callable[[str], bool]:
    """Whether `exclude` or `nosync` name an absolute path or a directory that it is below."""
    if not (section.exclude or section.nosync):
        return lambda _path: False
    is_named = _named(section)

    def is_left_out(path: str) -> bool:
        above = [str(one) for one in PurePosixPath(path).parents]
        return any(is_named(one) for one in (path, *above))

    return is_left_out


def _named(section: Section) -> Callable[[str], bool]:
    """Whether `exclude` or `nosync` name this very path."""
    patterns = [one.rstrip("/") or "/" for one in (*section.exclude, *section.nosync)]
    if not patterns:
        return lambda _path: False
    match = re.compile("|".join(fnmatch.translate(one) for one in patterns)).match
    return lambda path: match(path) is not None


def contents(entry: Entry, root: Path = Path("/")) -> Iterator[bytes]:
    """A file in pieces. Raises KernelError, after the last piece, if they are not what the entry
    says: whoever takes them must not use them before the end."""
    hashed, left = hashlib.sha256(), entry.size
    with _opened(entry, root) as descriptor:
        while piece := os.read(descriptor, min(CHUNK_BYTES, left + 1)):
            left -= len(piece)
            if left < 0:
                raise _changed(entry)
            hashed.update(piece)
            yield piece
    if hashed.hexdigest() != entry.sha256:
        raise _changed(entry)


def beginning(entry: Entry, size_max: int, root: Path = Path("/")) -> bytes:
    """At most so much of a file as it is now, which `contents` may refuse later. Raises
    KernelError."""
    with _opened(entry, root) as descriptor, open(descriptor, "rb", closefd=False) as file:
        # So much is set aside, however short the file is.
        return file.read(min(entry.size, size_max))


@contextmanager
def _opened(entry: Entry, root: Path) -> Iterator[int]:
    """A descriptor to read a file by. Raises KernelError, also for what fails meanwhile."""
    try:
        with Rooted(root).opened(entry.path) as descriptor:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _changed(entry)
            yield descriptor
    except OSError as error:
        raise unread(entry, error) from error


def unread(entry: Entry, error: OSError) -> KernelError:
    """Why a file that was there a moment ago cannot be read."""
    if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
        return _changed(entry)
    return failed("read", entry.path, error)


def _changed(entry: Entry) -> KernelError:
    return KernelError(
        f"{entry.path} changed after it was looked at", hint="wait until it is written; try again"
    )


def _as_asked(section: Section, entry: Entry) -> Entry:
    """With the owner and mode that the section asks for."""
    owner, _, group = section.owner.partition(":")
    mode = entry.mode
    if section.mode is not None and entry.kind is not Kind.SYMLINK:
        searched = (section.mode & 0o444) >> 2 if entry.kind is Kind.DIRECTORY else 0
        mode = section.mode | searched
    return replace(entry, owner=owner or entry.owner, group=group or entry.group, mode=mode)


class _Walk:
    """One scan: no recursion, and one open directory at a time, however deep it goes."""

    def __init__(
        self, section: Section, digests: Digests, rooted: Rooted, entries_max: int
    ) -> None:
        self.found: dict[str, Entry] = {}
        self._section = section
        self._is_named = _named(section)  # what is below is never come to
        self._digests = digests
        self._rooted = rooted
        self._entries_max = entries_max
        self._owners = Owners()
        self._waiting: list[str] = []  # directories

    def own(self, path: str) -> None:
        """One of the section's paths with all that is below it."""
        top = path.rstrip("/")
        check_path(top)
        if left_out(self._section)(top):
            return
        try:
            with self._rooted.parent(top) as (here, name):
                status = status_here(here, name)
                if status is not None:
                    self._fits(path, status, here, name)
                    self._take(here, name, top, status)
        except FileNotFoundError:
            return
        except OSError as error:
            raise failed("look at", top, error) from error
        while self._waiting:
            self._below(self._waiting.pop())

    def _fits(self, path: str, status: os.stat_result, here: int, name: str) -> None:
        """A slash at the end says that it is a directory."""
        top = path.rstrip("/")
        if path.endswith("/") and stat.S_ISLNK(status.st_mode):
            raise KernelError(
                f"{top} of section {self._section.name} is a symbolic link to "
                f"{os.readlink(name, dir_fd=here)}; carpool follows none",
                hint="name the directory that it leads to, or the link without a slash",
            )
        if path.endswith("/") != stat.S_ISDIR(status.st_mode):
            found, hint = ("a directory", "end it with a slash")
            if path.endswith("/"):
                found, hint = ("no directory", "take the slash at its end away")
            raise KernelError(f"{path} of section {self._section.name} is {found}", hint=hint)

    def _below(self, directory: str) -> None:
        try:
            with self._rooted.directory(directory) as here, os.scandir(here) as names:
                for one in names:
                    path = f"{directory}/{one.name}"
                    try:
                        self._take(here, one.name, path, one.stat(follow_symlinks=False))
                    except FileNotFoundError:  # gone since it was listed
                        continue
        except FileNotFoundError:
            return
        except OSError as error:
            raise failed("look into", directory, error) from error

    def _take(self, here: int, name: str, path: str, status: os.stat_result) -> None:
        if name.startswith(OWN_PREFIX) or self._is_named(path):
            return
        entry = self._entry(here, name, path, status)
        if len(self.found) >= self._entries_max:
            raise KernelError(
                f"section {self._section.name} has more than {self._entries_max} files",
                hint="exclude what is no configuration, or split the section",
            )
        self.found[path] = entry
        if entry.kind is Kind.DIRECTORY:
            self._waiting.append(path)

    def _entry(self, here: int, name: str, path: str, status: os.stat_result) -> Entry:
        target = os.readlink(name, dir_fd=here) if stat.S_ISLNK(status.st_mode) else ""
        try:
            check_path(path)
            if target:
                check_target(path, target)
        except PeerError as error:  # found here, so it is this node that must mend it
            raise KernelError(error.message, hint="rename or exclude it") from error
        kind, sha256 = kind_of(status), ""
        if kind is None:
            raise KernelError(
                f"{path} is {_odd(status.st_mode)}, which no other node can be given",
                hint=f'exclude = ["{path}"] in section {self._section.name}',
            )
        if kind is Kind.FILE:
            status, sha256 = self._digest(here, name, path, status)
        return Entry(
            path,
            kind,
            mode=0 if kind is Kind.SYMLINK else stat.S_IMODE(status.st_mode),
            owner=self._owners.user(status.st_uid),
            group=self._owners.group(status.st_gid),
            size=status.st_size if kind is Kind.FILE else 0,
            sha256=sha256,
            target=target,
        )

    def _digest(
        self, here: int, name: str, path: str, status: os.stat_result
    ) -> tuple[os.stat_result, str]:
        known = self._digests.known(status)
        if known is not None:
            return status, known
        for _ in range(READ_TRIES):
            began_us = self._digests.now_us()
            before, sha256, after = _read(here, name)
            if fingerprint(before) == fingerprint(after) and stat.S_ISREG(after.st_mode):
                self._digests.remember(after, sha256, began_us)
                return after, sha256
        raise KernelError(
            f"{path} changed while being read, {READ_TRIES} times",
            hint="a program writes to it: exclude it if it is no configuration, or try again",
        )


def _read(here: int, name: str) -> tuple[os.stat_result, str, os.stat_result]:
    """What a file was before, its digest, and what it was afterwards."""
    descriptor = open_here(here, name)
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            return before, "", before
        hashed = hashlib.sha256()
        left = before.st_size  # a file that grows as we read has no end
        while left >= 0 and (piece := os.read(descriptor, min(CHUNK_BYTES, left + 1))):
            hashed.update(piece)
            left -= len(piece)
        return before, hashed.hexdigest(), os.fstat(descriptor)
    finally:
        os.close(descriptor)


def _odd(mode: int) -> str:
    kinds = {stat.S_IFSOCK: "a socket", stat.S_IFIFO: "a pipe"}
    return kinds.get(stat.S_IFMT(mode), "a device")
