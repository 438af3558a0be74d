"""The hands of a transaction: each step kept, laid ready, done and undone.

Room: kernel. Each act may be cut off anywhere and done again. A new file waits under a hidden name
on the file system where it goes; what was there waits in the snapshot, dressed as it was, so that a
rename brings it back. Refuses to know the order of things (`kernel/transaction.py`).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from io import FileIO
from pathlib import Path

from carpool.errors import KernelError
from carpool.kernel.rooted import (
    OWN_PREFIX,
    BlockedError,
    Rooted,
    kind_of,
    open_here,
    write_all,
)
from carpool.kernel.swapplan import Found, Plan, Step, changed, xattrs_of
from carpool.kernel.tree import Digests, same_content
from carpool.model.manifest import Entry, Kind

_PIECE_BYTES = 1024 * 1024
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Not every file system has them, and not every label may be set: a file without is better than none
_XATTRS_REFUSED = (errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.EINVAL)


class Hands:
    """Below `rooted`, with old contents in the directory `snapshots`. `tell` hears of each act
    just before it. Raises OSError for what the kernel refuses."""

    def __init__(
        self,
        plan: Plan,
        rooted: Rooted,
        snapshots: Path,
        digests: Digests,
        tell: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._rooted = rooted
        self._snapshots = snapshots
        self._digests = digests
        self._tell = tell
        self._removed = {one.path for one in plan.steps if one.new is None}

    def keep(self, step: Step) -> None:
        """Copy the old content. Raises KernelError when it is not what the plan found."""
        if step.old is None or step.old.kind is not Kind.FILE or step.found is None:
            return
        self._tell(f"keep {step.path}")
        with self._rooted.opened(step.path) as source:
            if not step.found.is_still(os.fstat(source)):
                raise changed(step.path, "it is another file")
            with _made(self._snapshots / str(step.number)) as copy:
                if _copy(source, copy) != step.old.sha256:
                    raise changed(step.path, "its content")
                _dress_as_found(copy, step.found)

    def lay(
        self, step: Step, source: Callable[[Entry], Path], spare: Collection[Path] = ()
    ) -> None:
        """Put what is new beside the place where it goes. What is `spare` is moved there if that
        comes to the same: a file costs more to make than to name."""
        if not step.fresh or step.new is None:
            return
        self._tell(f"lay {step.path}")
        with self._rooted.parent(step.fresh) as (here, name):
            if step.new.kind is Kind.SYMLINK:
                os.symlink(step.new.target, name, dir_fd=here)
                os.chown(name, step.uid, step.gid, dir_fd=here, follow_symlinks=False)
                return
            path = source(step.new)
            xattrs = step.found.xattrs if step.found else {}
            before = os.stat(path, follow_symlinks=False)
            if path in spare and _moved(path, name, here):
                with open(open_here(here, name), "rb", buffering=0) as file:
                    _announced(step, self._hashed(file, before))
                    _dress(file.fileno(), step.uid, step.gid, step.new.mode, xattrs)
                    self._digests.trust(os.fstat(file.fileno()), step.new.sha256)
                return
            with open(path, "rb", buffering=0) as file, _made(name, here) as copy:
                _announced(step, _copy(file.fileno(), copy))
                _dress(copy, step.uid, step.gid, step.new.mode, xattrs)
                self._digests.trust(os.fstat(copy), step.new.sha256)

    def _hashed(self, file: FileIO, before: os.stat_result) -> str:
        """The SHA-256 of what was moved here. Who took it in knew it already, unless somebody wrote
        to it since."""
        known = self._digests.known(before)
        if known is not None and same_content(before, os.fstat(file.fileno())):
            return known
        return hashlib.file_digest(file, "sha256").hexdigest()

    def still(self, step: Step) -> None:
        """Raise KernelError unless all is there as the plan found it."""
        status = self._rooted.seen(step.path)
        if step.found is None:
            if status is not None and step.asked and step.path not in self._removed:
                raise changed(step.path, "it is there, and was not")
        elif status is None:
            raise changed(step.path, "it is gone")
        elif status.st_ino != step.found.inode or not (
            stat.S_ISDIR(status.st_mode) or step.found.is_still(status)
        ):
            raise changed(step.path, "it was written to")

    def do(self, step: Step) -> None:
        self._tell(f"do {step.path}")
        with self._rooted.parent(step.path) as (here, name):
            if step.new is None:
                _remove(here, name, is_directory=step.old is not None and _is_directory(step.old))
            elif step.fresh:
                with self._rooted.parent(step.fresh) as (home, waiting):
                    before = os.stat(waiting, dir_fd=home, follow_symlinks=False)
                    os.rename(waiting, name, src_dir_fd=home, dst_dir_fd=here)
                self._learn(before, os.stat(name, dir_fd=here, follow_symlinks=False))
            elif step.new.kind is Kind.SYMLINK:
                os.chown(name, step.uid, step.gid, dir_fd=here, follow_symlinks=False)
            else:
                self._make_or_dress(step, step.new, here, name)

    def _learn(self, before: os.stat_result, after: os.stat_result) -> None:
        """What is in place now, so that it need not be read. Had it been written in the same moment
        as it was renamed, a further change could leave it with the same times."""
        known = self._digests.known(before)
        if known and same_content(before, after) and after.st_mtime_ns < after.st_ctime_ns:
            self._digests.trust(after, known)

    def _make_or_dress(self, step: Step, new: Entry, here: int, name: str) -> None:
        if step.old is None:
            with contextlib.suppress(FileExistsError):  # one that could not be removed
                os.mkdir(name, 0o700, dir_fd=here)
            self._tell(f"dress {step.path}")
        descriptor = open_here(here, name)
        try:
            if kind_of(os.fstat(descriptor)) is not new.kind:
                raise changed(step.path, f"it is no {new.kind}")
            _dress(descriptor, step.uid, step.gid, new.mode)
        finally:
            os.close(descriptor)

    def undo(self, step: Step) -> None:
        """Whether it was done, undone in part, or not begun: afterwards it is as it was."""
        status = self._rooted.seen(step.path)
        if step.old is None:
            self._take_away(step, status)
        elif step.found is not None:
            self._tell(f"restore {step.path}")
            if step.old.kind is Kind.DIRECTORY:
                self._restore_directory(step, step.found, status)
            elif status is not None and step.found.is_still(status):
                self._dress_again(step, step.found)
            elif step.old.kind is Kind.SYMLINK:
                self._restore_link(step, step.old.target, step.found)
            else:
                self._restore_file(step, step.found, status)

    def _take_away(self, step: Step, status: os.stat_result | None) -> None:
        if status is None or step.new is None or kind_of(status) is not step.new.kind:
            return  # never there, gone, or what was there before
        if step.fresh and self._rooted.seen(step.fresh) is not None:
            return  # ours never got there
        self._tell(f"take away {step.path}")
        with self._rooted.parent(step.path) as (here, name):
            _remove(here, name, is_directory=_is_directory(step.new))

    def _dress_again(self, step: Step, found: Found) -> None:
        with self._rooted.parent(step.path) as (here, name):
            if step.old is not None and step.old.kind is Kind.SYMLINK:
                os.chown(name, found.uid, found.gid, dir_fd=here, follow_symlinks=False)
                return
            descriptor = open_here(here, name)
            try:
                _dress_as_found(descriptor, found)
            finally:
                os.close(descriptor)

    def _restore_directory(self, step: Step, found: Found, status: os.stat_result | None) -> None:
        if status is None:
            with self._rooted.parent(step.path) as (here, name):
                os.mkdir(name, 0o700, dir_fd=here)
        with self._rooted.directory(step.path) as descriptor:
            _dress_as_found(descriptor, found)

    def _restore_link(self, step: Step, target: str, found: Found) -> None:
        with self._rooted.parent(step.path) as (here, name):
            back = self._back(step, here)
            os.symlink(target, back, dir_fd=here)
            os.chown(back, found.uid, found.gid, dir_fd=here, follow_symlinks=False)
            times = (found.mtime_ns, found.mtime_ns)
            os.utime(back, ns=times, dir_fd=here, follow_symlinks=False)
            os.rename(back, name, src_dir_fd=here, dst_dir_fd=here)

    def _restore_file(self, step: Step, found: Found, status: os.stat_result | None) -> None:
        snapshot = self._snapshots / str(step.number)
        if not snapshot.exists():
            if status is None:
                raise KernelError(
                    f"{step.path} and its snapshot {snapshot} are gone",
                    hint="restore it from `carpool history` or a backup",
                )
            return  # an earlier attempt renamed it into its place
        with self._rooted.parent(step.path) as (here, name):
            try:
                os.rename(snapshot, name, dst_dir_fd=here)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self._copy_back(step, found, here, name)

    def _copy_back(self, step: Step, found: Found, here: int, name: str) -> None:
        """From another file system. A full one is made room on by what is taken away anyway."""
        for attempt in range(2):
            back = self._back(step, here)
            try:
                with open(self._snapshots / str(step.number), "rb", buffering=0) as file:
                    with _made(back, here) as copy:
                        _copy(file.fileno(), copy)
                        _dress_as_found(copy, found)
                        os.fsync(copy)
                os.rename(back, name, src_dir_fd=here, dst_dir_fd=here)
                return
            except OSError as error:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(back, dir_fd=here)
                if attempt or error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=here)

    def _back(self, step: Step, here: int) -> str:
        """The name beside it under which it is made again; nothing is there."""
        back = f"{OWN_PREFIX}{self._plan.token}-{step.number}-back"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(back, dir_fd=here)
        return back

    def clear(self, step: Step) -> None:
        """Nothing waits for it any more."""
        if not step.fresh or self._rooted.seen(step.fresh) is None:
            return
        self._tell(f"clear {step.path}")
        with self._rooted.parent(step.fresh) as (here, name):
            os.unlink(name, dir_fd=here)

    def date(self, directory: str, mtime_ns: int) -> None:
        """When names came and went there, as it was before."""
        with contextlib.suppress(FileNotFoundError, BlockedError):
            with self._rooted.directory(directory) as descriptor:
                _date(descriptor, mtime_ns)


def _is_directory(entry: Entry) -> bool:
    return entry.kind is Kind.DIRECTORY


def _remove(here: int, name: str, *, is_directory: bool) -> None:
    if not is_directory:
        os.unlink(name, dir_fd=here)
        return
    try:
        os.rmdir(name, dir_fd=here)
    except OSError as error:  # what is left in it belongs to somebody else
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
            raise


@contextlib.contextmanager
def _made(path: Path | str, here: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, _CREATE, 0o600, dir_fd=here)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _moved(path: Path, name: str, here: int) -> bool:
    """Whether it could be renamed into this directory. Not to another file system, nor where a
    directory hands access lists or labels down to what is made in it, and to nothing else."""
    if xattrs_of(here):
        return False
    try:
        os.rename(path, name, dst_dir_fd=here)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    return True


def _announced(step: Step, sha256: str) -> None:
    if step.new is None or sha256 != step.new.sha256:
        raise KernelError(
            f"what was staged for {step.path} is not what was announced",
            hint="try again; if that does not help, look for disk errors in `dmesg`",
        )


def _copy(source: int, target: int) -> str:
    """Copy to the end; the SHA-256 of it."""
    hashed = hashlib.sha256()
    while piece := os.read(source, _PIECE_BYTES):
        hashed.update(piece)
        write_all(target, piece)
    return hashed.hexdigest()


def _dress_as_found(descriptor: int, found: Found) -> None:
    _dress(descriptor, found.uid, found.gid, found.mode, found.xattrs)
    _date(descriptor, found.mtime_ns)


def _dress(
    descriptor: int, uid: int, gid: int, mode: int, xattrs: Mapping[str, str] | None = None
) -> None:
    """Owner first, as it takes capabilities and set-user-ID away; mode last, as it bounds the
    access list."""
    status = os.fstat(descriptor)
    if (status.st_uid, status.st_gid) != (uid, gid):
        os.fchown(descriptor, uid, gid)
    present = xattrs_of(descriptor) if xattrs else {}
    for name, value in (xattrs or {}).items():
        if present.get(name) == value:
            continue
        try:
            os.setxattr(descriptor, name, bytes.fromhex(value))
        except OSError as error:
            if error.errno not in _XATTRS_REFUSED:
                raise
    if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
        os.fchmod(descriptor, mode)


def _date(descriptor: int, mtime_ns: int) -> None:
    status = os.fstat(descriptor)
    if status.st_mtime_ns != mtime_ns:
        os.utime(descriptor, ns=(status.st_atime_ns, mtime_ns))
