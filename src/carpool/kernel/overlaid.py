"""A program of its own: run one command on this machine as it would be after some changes.

Room: kernel. Started by `checkrun.py` with a plan on stdin; imports nothing of carpool. In new
mount and process namespaces it lays an overlay on every filesystem of the machine, all their upper
layers on one tmpfs, makes that its root, makes the changes there, runs the command. When its first
process ends, the kernel kills what runs there and drops all that was written.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import grp
import json
import os
import pwd
import re
import shutil
import signal
import stat
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

# Linux include/uapi/linux/sched.h, mount.h, prctl.h; fs.h of glibc for umount2.
CLONE_NEWNS, CLONE_NEWPID = 0x00020000, 0x20000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG = 1
# pivot_root(2) has no wrapper in glibc. Its number: 155 on x86_64, 41 where the table is generic.
SYS_PIVOT_ROOT = 155 if os.uname().machine == "x86_64" else 41

# What a layer can be laid on. The others (network, FUSE, images) stay out: to look at one may hang.
DISK_TYPES = {
    *("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "bcachefs"),
    *("tmpfs", "overlay"),
}
KERNELS_OWN = ("/proc", "/sys", "/dev")
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - no file of ours is in there
USER_FILES = ("passwd", "group", "nsswitch.conf")  # what users there are
NOT_FOUND, NOT_EXECUTABLE = 127, 126  # as the shell says it

_piece = bytearray(256 << 10)  # of a content
_libc = ctypes.CDLL(None, use_errno=True)


def main() -> int:
    tell_fd = int(sys.argv[1])
    os.set_inheritable(tell_fd, False)
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    plan = json.load(sys.stdin.buffer)
    try:
        _call(_libc.unshare, "new namespaces", CLONE_NEWNS | CLONE_NEWPID)
        first = os.fork()
    except OSError as error:
        _tell(tell_fd, {"error": _words(error)})
        return 1
    if first == 0:
        _first_process(plan, tell_fd)
    os.waitpid(first, 0)
    return 0


def _first_process(plan: dict[str, Any], tell_fd: int) -> NoReturn:
    """Whatever happens, its end is the end of all that runs in the namespace."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGALRM, lambda *_: os._exit(1))
    signal.alarm(plan["alarm_s"])  # should our parent have died before we asked to die with it
    report: dict[str, object] = {"error": "a fault of carpool itself"}
    try:
        _enter(plan["scratch"], plan["root"], plan["changes"])
        report = {"status": _run(plan["argv"], plan["environment"])}
    except _NotMadeError as refused:
        error = refused.error
        report = {"error": _words(error), "errno": error.errno, "path": refused.path}
    except OSError as error:
        report = {"error": _words(error)}
    except BaseException:  # noqa: BLE001 - the last frame of a process: tell and end
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        _tell(tell_fd, report)
        os._exit(0)


def _tell(tell_fd: int, report: dict[str, object]) -> None:
    os.write(tell_fd, json.dumps(report).encode())


def _words(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)


class _NotMadeError(Exception):
    """A change that the machine does not let anybody make."""

    def __init__(self, path: str, error: OSError) -> None:
        super().__init__(path)
        self.path, self.error = path, error


# -- the view ---------------------------------------------------------------------------------


def _enter(scratch: str, root: str, changes: list[dict[str, Any]]) -> None:
    """Make the machine with the changes this process's root. OSError and _NotMadeError name what
    was refused."""
    mounted = list(_mounted(scratch))
    _mount("", "/", "", MS_REC | MS_PRIVATE)
    _mount("tmpfs", scratch, "tmpfs", 0, "mode=0700")
    view = _View(scratch, "" if root == "/" else root, mounted)
    view.build()
    # The content of new files is read below the old root: by names that mean the same there alone.
    old = os.open("/", os.O_PATH | os.O_DIRECTORY)
    os.chdir(view.new)
    _call(_libc.syscall, "pivot_root", SYS_PIVOT_ROOT, b".", b".")
    for change in changes:
        try:
            _make(change, old)
        except OSError as error:
            raise _NotMadeError(change["path"], error) from error
    os.close(old)
    _call(_libc.umount2, "the old root", b".", MNT_DETACH)
    os.chdir("/")


class _View:
    """Builds the machine anew at `new`, each filesystem below a layer of its own."""

    def __init__(self, scratch: str, root: str, mounted: list[str]) -> None:
        self.new = f"{scratch}/root"
        self._scratch = scratch
        self._root = root  # "" if it is the machine's own
        self._mounted = mounted
        self._layers = 0

    def build(self) -> None:
        os.mkdir(self.new)
        self._lay(["/"], "/")
        if self._root:
            for name in sorted(os.listdir(self._root)):
                self._graft(f"/{name}")
        for point in self._mounted:
            self._submount(point)
        _mount("proc", f"{self.new}/proc", "proc")
        _read_only(f"{self.new}/proc/sys", f"{self.new}/proc/sys")
        _mount("/dev", f"{self.new}/dev", "", MS_BIND | MS_REC)
        if os.path.isdir(SHARED_MEMORY):  # an empty one: what is in the machine's is in use
            _mount("tmpfs", self.new + SHARED_MEMORY, "tmpfs", 0, "mode=1777")
        _mount("/sys", f"{self.new}/sys", "", MS_BIND | MS_REC)
        _mount("", f"{self.new}/sys", "", MS_BIND | MS_REMOUNT | MS_RDONLY)

    def _lay(self, lowers: list[str], point: str) -> None:
        """The first of `lowers` is the uppermost."""
        self._layers += 1
        upper, work = (f"{self._scratch}/{kind}{self._layers}" for kind in ("upper", "work"))
        os.mkdir(work)
        os.mkdir(upper)
        like = os.stat(lowers[0])  # the point itself looks as the upper layer does
        os.chown(upper, like.st_uid, like.st_gid)
        os.chmod(upper, stat.S_IMODE(like.st_mode))
        layers = ":".join(_escaped(lower) for lower in lowers)
        options = f"lowerdir={layers},upperdir={_escaped(upper)},workdir={_escaped(work)}"
        target = self.new if point == "/" else self.new + point
        try:
            _mount("overlay", target, "overlay", 0, options)
        except OSError as error:
            raise OSError(error.errno, error.strerror, f"overlay on {point}") from error

    def _graft(self, path: str) -> None:
        """Lay a directory of the root over the machine's. Layers must not lie within each other
        (overlayfs says ELOOP): the directories that lead to the root itself are taken apart."""
        own = self._root + path
        if path in self._mounted or path in KERNELS_OWN or os.path.islink(own):
            return
        if not os.path.isdir(own):
            # Sockets and pipes are of processes, and no configuration.
            if os.path.isfile(own) and not os.path.lexists(self.new + path):
                shutil.copy2(own, self.new + path)
        elif f"{self._root}/".startswith(f"{path}/"):
            for name in sorted(os.listdir(own)):
                self._graft(f"{path}/{name}")
        elif os.path.isdir(path):
            self._lay([own, path], path)
        else:
            os.makedirs(self.new + path, exist_ok=True)
            self._lay([own], path)

    def _submount(self, point: str) -> None:
        """What cannot have a layer is shown as it is, for reading."""
        if not os.path.exists(self.new + point):
            return  # hidden by another mount
        own = self._root + point
        try:
            if os.path.isdir(point):
                apart = not f"{self._root}/".startswith(f"{point}/")
                grafted = [own] if self._root and apart and os.path.isdir(own) else []
                self._lay([*grafted, point], point)
            elif not (self._root and os.path.exists(own)):
                _read_only(point, self.new + point)
        except OSError:
            _read_only(point, self.new + point)


def _mounted(scratch: str) -> Iterator[str]:
    """Where filesystems of a disk or memory are mounted, but for the root; parents first."""
    points = set()
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            before, _, after = line.partition(" - ")
            point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), before.split()[4])
            if after.split()[0] in DISK_TYPES and not _within(point, (*KERNELS_OWN, scratch)):
                points.add(point)
    yield from sorted(points - {"/"})


def _within(path: str, directories: tuple[str, ...]) -> bool:
    return any(f"{path}/".startswith(f"{one}/") for one in directories)


def _read_only(source: str, point: str) -> None:
    _mount(source, point, "", MS_BIND)
    _mount("", point, "", MS_BIND | MS_REMOUNT | MS_RDONLY)


def _escaped(path: str) -> str:
    return re.sub(r"([\\:,])", r"\\\1", path)


def _mount(source: str, point: str, kind: str, flags: int = 0, options: str = "") -> None:
    words = [os.fsencode(word) or None for word in (source, point, kind)]
    data = os.fsencode(options) or None
    _call(_libc.mount, point, *words, ctypes.c_ulong(flags), data)


def _call(function: Callable[..., int], about: str, *arguments: object) -> None:
    if function(*arguments) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), about)


# -- the changes ------------------------------------------------------------------------------


def _make(change: dict[str, Any], old: int) -> None:
    path = change["path"]
    if "kind" not in change:
        _remove(path)
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if change["kind"] == "symlink":
        _remove(path)
        os.symlink(change["target"], path)
    elif change["kind"] == "directory":
        os.makedirs(path, exist_ok=True)
    elif change["source"] is not None:
        _remove(path)
        _copy(change["source"], path, old)
    if os.path.basename(path) in USER_FILES:
        _uid.cache_clear()
        _gid.cache_clear()
    os.chown(path, _uid(change["owner"]), _gid(change["group"]), follow_symlinks=False)
    if change["kind"] != "symlink":
        os.chmod(path, change["mode"])


def _remove(path: str) -> None:
    try:
        if os.path.isdir(path) and not os.path.islink(path):
            os.rmdir(path)
        else:
            os.unlink(path)
    except OSError as error:
        # A directory stays where files are in it that do not belong to the section.
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENOTEMPTY):
            raise


def _copy(source: str, path: str, old: int) -> None:
    def opened(name: str, flags: int) -> int:
        try:
            return os.open(name.lstrip("/"), flags, dir_fd=old)
        except OSError as error:
            raise OSError(error.errno, error.strerror, name) from None

    with (
        open(source, "rb", buffering=0, opener=opened) as content,
        open(path, "xb", buffering=0) as file,
    ):
        piece = memoryview(_piece)
        while count := content.readinto(piece):
            rest = piece[:count]
            while rest:
                rest = rest[file.write(rest) :]


@functools.cache
def _uid(name: str) -> int:
    return _number(name, lambda: pwd.getpwnam(name).pw_uid)


@functools.cache
def _gid(name: str) -> int:
    return _number(name, lambda: grp.getgrnam(name).gr_gid)


def _number(name: str, look_up: Callable[[], int]) -> int:
    """Of a user or group that is not there yet, root's."""
    if name.startswith("#"):
        return int(name[1:])
    try:
        return look_up()
    except KeyError:
        return 0


# -- the command ------------------------------------------------------------------------------


def _run(argv: list[str], environment: dict[str, str]) -> int:
    """Its exit status; negative: the signal that ended it."""
    command = os.fork()
    if command == 0:
        _execute(argv, environment)
    while True:
        pid, status = os.waitpid(-1, 0)  # orphans of the namespace are ours to bury
        if pid == command:
            return os.waitstatus_to_exitcode(status)


def _execute(argv: list[str], environment: dict[str, str]) -> NoReturn:
    code = NOT_EXECUTABLE
    try:
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it
        os.umask(0o022)
        os.execvpe(argv[0], argv, environment)  # noqa: S606 - a list, never a shell line
    except OSError as error:
        if error.errno == errno.ENOENT:
            code = NOT_FOUND
        os.write(1, f"cannot run {argv[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
