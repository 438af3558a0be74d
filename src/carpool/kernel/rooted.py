"""Paths below a root directory, walked so that no symbolic link ever leads anywhere.

Room: kernel. The kernel follows none (openat2(2)); where it cannot be asked, each component is
opened by itself, relative to the one before it. What a peer names, or a local user swaps at the
right moment, stays below the root. Refuses to know what lies there.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from carpool.errors import KernelError, PeerError
from carpool.model.manifest import Kind

PATH_MAX_BYTES = 4095  # limits.h, without the NUL
DEPTH_MAX = 100  # directories; each step of a path is walked by itself
NAME_MAX_BYTES = 255
OWN_PREFIX = ".carpool-"  # of what a transaction puts beside the files of others
SYNCED_SINGLY_MAX = 64  # beyond that, one syncfs(2) is quicker than an fsync(2) for each
Piece = bytes | memoryview  # of a content
_NO_NAMES = frozenset(("", ".", ".."))
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
# Linux include/uapi/linux/openat2.h; the number is the same on all architectures of Debian.
_SYS_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 0x02, 0x04, 0x08
_HOW = struct.pack(
    "=QQQ", _DIRECTORY, 0, _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_SYMLINKS | _RESOLVE_BENEATH
)
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.argtypes = (
    *(ctypes.c_long, ctypes.c_int, ctypes.c_char_p),
    *(ctypes.c_char_p, ctypes.c_size_t),
)
_libc.syscall.restype = ctypes.c_long


def check_path(path: str) -> None:
    """Raise PeerError unless this is an absolute path of plain names: no `.`, no `..`, no empty
    part, nothing unprintable, nothing that a file system could not hold."""
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        raise _refused(path, "is not UTF-8") from None
    names = path.split("/")[1:]
    if not path.startswith("/"):
        raise _refused(path, "is not absolute")
    if size > PATH_MAX_BYTES or (size > NAME_MAX_BYTES and _longest(names) > NAME_MAX_BYTES):
        raise _refused(path, "is too long for a file system")
    if len(names) > DEPTH_MAX:
        raise _refused(path, f"is more than {DEPTH_MAX} directories deep")
    if not path.isprintable():
        raise _refused(path, "has characters that cannot be printed")
    if not _NO_NAMES.isdisjoint(names):
        raise _refused(path, "has an empty part, `.` or `..`")
    if f"/{OWN_PREFIX}" in path:
        raise _refused(path, f"has a part like {OWN_PREFIX}..., as carpool's temporary files have")


def _longest(names: list[str]) -> int:
    return max(len(name.encode()) for name in names)


def check_target(path: str, target: str) -> None:
    """Raise PeerError for what the symbolic link at `path` must not hold. It may lead anywhere:
    carpool never follows it."""
    if not target.isprintable() or not 0 < len(target.encode()) <= PATH_MAX_BYTES:
        raise PeerError(
            f"the symbolic link {path} leads to {target[:200]!a}",
            hint=f"expected 1 to {PATH_MAX_BYTES} bytes that can be printed",
        )


def _refused(path: str, why: str) -> PeerError:
    return PeerError(
        f"the path {path[:200]!a} {why}", hint="expected one like /etc/nginx/nginx.conf"
    )


def failed(doing: str, path: str, error: OSError) -> KernelError:
    """What the kernel refused, for people."""
    hints = {
        errno.ENOSPC: "make room on that file system",
        errno.EDQUOT: "make room within the quota",
        errno.EROFS: "the file system is read-only: look into the kernel's log for why",
        errno.EACCES: "run as root",
        errno.EPERM: "run as root; `lsattr` shows whether it is immutable",
    }
    hint = hints.get(error.errno or 0, "")
    return KernelError(f"cannot {doing} {path}: {error.strerror}", hint=hint)


class BlockedError(KernelError):
    """Something that is no directory stands where a path leads through."""


class Rooted:
    """What is below `root`. Paths are absolute as if `root` were `/`. Raises FileNotFoundError
    where a directory is missing, BlockedError where one is none, OSError for the rest. With
    `step_by_step` it does without openat2(2)."""

    def __init__(self, root: Path, *, step_by_step: bool = False) -> None:
        self._root = root
        self._step_by_step = step_by_step

    @contextmanager
    def directory(self, path: str) -> Iterator[int]:
        """A descriptor of this directory."""
        here = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            inner, walked = path.strip("/"), ""
            found = None if self._step_by_step or not inner else _beneath(here, inner)
            if found is not None:
                os.close(here)
                here, inner = found, ""
            for name in inner.split("/") if inner else ():
                walked = f"{walked}/{name}"
                below = _enter(here, name, walked)
                os.close(here)
                here = below
            yield here
        finally:
            os.close(here)

    @contextmanager
    def parent(self, path: str) -> Iterator[tuple[int, str]]:
        """A descriptor of the directory that this path is in, and its name there."""
        above, _, name = path.rpartition("/")
        with self.directory(above) as here:
            yield here, name

    @contextmanager
    def opened(self, path: str) -> Iterator[int]:
        """A descriptor to read this file or directory by; a symbolic link is ELOOP."""
        with self.parent(path) as (here, name):
            descriptor = open_here(here, name)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def status(self, path: str) -> os.stat_result | None:
        """lstat(2); None where there is nothing, nor a directory to hold it."""
        try:
            with self.parent(path) as (here, name):
                return status_here(here, name)
        except FileNotFoundError:
            return None

    def seen(self, path: str) -> os.stat_result | None:
        """lstat(2); None also where something that is no directory stands in the way."""
        try:
            return self.status(path)
        except BlockedError:
            return None

    def sync(self, paths: Iterable[str]) -> None:
        """Make files and directories (with the names in them) survive a power cut. What is not
        there any more, and what is no file or directory, is passed over."""
        singly = set(paths)
        devices: set[int] = set()
        for path in sorted(singly):
            found = self.seen(path) if path.strip("/") else os.stat(self._root)
            if found is None or not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)):
                continue
            if len(singly) > SYNCED_SINGLY_MAX and found.st_dev in devices:
                continue
            devices.add(found.st_dev)
            with self.directory("") if not path.strip("/") else self.opened(path) as descriptor:
                if len(singly) > SYNCED_SINGLY_MAX:
                    _sync_file_system(descriptor)
                else:
                    os.fsync(descriptor)


def status_here(here: int, name: str) -> os.stat_result | None:
    """lstat(2) of a name in an open directory; None where there is nothing."""
    try:
        return os.stat(name, dir_fd=here, follow_symlinks=False)
    except FileNotFoundError:
        return None


def open_here(here: int, name: str) -> int:
    """A file in an open directory, to read from; never waits for the writer of a pipe."""
    return os.open(name, _FILE, dir_fd=here)


def kind_of(status: os.stat_result) -> Kind | None:
    """None for sockets, pipes and devices."""
    kinds = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFLNK: Kind.SYMLINK}
    return kinds.get(stat.S_IFMT(status.st_mode))


def write_all(descriptor: int, data: Piece) -> None:
    """write(2) until all is written."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _beneath(here: int, path: str) -> int | None:
    """A directory some steps below an open one, without a symbolic link on the way. None where the
    kernel refuses, for whatever reason: a walk step by step tells why, or gets there. Raises
    FileNotFoundError."""
    found = int(_libc.syscall(_SYS_OPENAT2, here, os.fsencode(path), _HOW, len(_HOW)))
    if found >= 0:
        return found
    if (code := ctypes.get_errno()) == errno.ENOENT:
        raise FileNotFoundError(code, os.strerror(code), path)
    return None


def _enter(here: int, name: str, walked: str) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=here)
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        found = status_here(here, name)
        if found is None:  # gone in this moment
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from error
        if stat.S_ISLNK(found.st_mode):
            target = os.readlink(name, dir_fd=here)
            raise BlockedError(
                f"{walked} is a symbolic link to {target}; carpool follows none",
                hint="name the directory that it leads to",
            ) from error
        raise BlockedError(f"{walked} is no directory", hint="move it out of the way") from error


def _sync_file_system(descriptor: int) -> None:
    """syncfs(2), which Python 3.11 has not."""
    if _libc.syncfs(descriptor) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
