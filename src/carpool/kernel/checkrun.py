"""Run a section's check command on files that are not in place yet, as if they were.

Room: kernel. The command sees this machine with the new files laid over it, in namespaces that end
with it (`overlaid.py`): what it writes is gone with them, what it starts is killed. Refuses to
judge what a check says; the network it sees is the machine's own.
"""

from __future__ import annotations

import errno
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from carpool.errors import KernelError
from carpool.kernel import clock
from carpool.kernel.attributes import hindrance
from carpool.model.manifest import Change
from carpool.model.section import CHECK_TIMEOUT_S

_UNWRITABLE = (errno.EPERM, errno.EACCES, errno.EROFS)
LAID_MAX_S = 0.002  # for a change to be laid over: that is our work, and no time of the check's
OUTPUT_MAX_BYTES = 16 << 10  # of what it says the end is kept: there the reason stands
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "HOME": "/root",
}
# Started by its path: a process that nobody forked from threads, and that needs no package.
_HELPER = "carpool.kernel.overlaid"
_HELPER_PATH = Path(__file__).with_name(f"{_HELPER.rpartition('.')[2]}.py")

Staged = tuple[Change, Path | None]  # where the content lies that the change brings; else None


@dataclass(frozen=True, slots=True)
class CheckResult:
    ok: bool
    exit_status: int  # negative: the signal that ended it
    output: str  # stdout and stderr as they came, at most OUTPUT_MAX_BYTES of their end
    took_s: float
    timed_out: bool = False


def run_check(
    argv: Sequence[str],
    staged: Sequence[Staged],
    *,
    scratch: Path,
    root: Path = Path("/"),
    timeout_s: float = CHECK_TIMEOUT_S,
) -> CheckResult:
    """The verdict of `argv` on a machine on which the staged changes, in the order in which they
    are made, were made. With a `root` other than "/" its files are laid over the machine's first.

    `scratch` is an empty directory of the caller's; it stays empty. Blocks for `timeout_s`, some
    time for each change, and a little more at most: not for an event loop. Raises KernelError where
    the kernel refuses to build that view or to write one of the files, which says nothing about
    their contents.
    """
    patience_s = timeout_s + len(staged) * LAID_MAX_S
    plan = {
        "argv": list(argv),
        "environment": ENVIRONMENT,
        "scratch": os.path.realpath(scratch),
        "root": os.path.realpath(root),
        "changes": _changes(staged),
        "alarm_s": int(patience_s) + 5,
    }
    begun_s = clock.monotonic_s()
    told_fd, tell_fd = os.pipe2(os.O_CLOEXEC)
    with open(told_fd, "rb") as told:
        try:
            child = _start(plan, tell_fd)
        finally:
            os.close(tell_fd)
        with child:
            try:
                output, ended = _follow(child, begun_s + patience_s)
            finally:
                # The namespace's first process dies with its parent, and with it all the others.
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            report = json.loads(told.read() or b"{}")
    took_s = clock.monotonic_s() - begun_s
    if report.get("errno") in _UNWRITABLE:
        raise _unwritable(report["path"], report["errno"], root)
    if "error" in report:
        raise KernelError(
            f"cannot show the new files to `{argv[0]}`: {report['error']}",
            hint="a check needs root, overlayfs and namespaces; `check = []` goes without it",
        )
    if not ended:
        return CheckResult(False, -signal.SIGKILL, output, took_s, timed_out=True)
    if "status" not in report:
        raise KernelError(
            f"somebody killed the check `{argv[0]}` before its end",
            hint="`dmesg` says whether memory ran out; run it again",
        )
    return CheckResult(report["status"] == 0, report["status"], output, took_s)


def _unwritable(path: str, code: int, root: Path) -> KernelError:
    """It would not go into its place either: the swap is spared that."""
    why, command = hindrance(path, root)
    hint = f"`{command}` allows it, or exclude that file from its section"
    if not why:
        why = os.strerror(code)
        hint = "look at `lsattr`, at how that file system is mounted, and whether this is root"
    return KernelError(f"cannot write {path}: {why}; nothing was changed", hint=hint)


def _start(plan: Mapping[str, object], tell_fd: int) -> subprocess.Popen[bytes]:
    """The helper, in a session of its own; it reports on `tell_fd`."""
    plan_fd = os.memfd_create("plan")
    try:
        with open(plan_fd, "wb", closefd=False) as file:
            file.write(json.dumps(plan).encode())
        os.lseek(plan_fd, 0, os.SEEK_SET)
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_HELPER_PATH), str(tell_fd)],
            stdin=plan_fd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(tell_fd,),
            start_new_session=True,
            cwd="/",
            env=ENVIRONMENT,
        )
    except OSError as error:
        raise KernelError(f"cannot start a check: {error.strerror}") from error
    finally:
        os.close(plan_fd)


def _changes(staged: Sequence[Staged]) -> list[dict[str, object]]:
    real = cache(os.path.realpath)  # of a few directories, for thousands of files
    return [
        _change(change, os.path.join(real(source.parent), source.name) if source else None)
        for change, source in staged
    ]


def _change(change: Change, source: str | None) -> dict[str, object]:
    new = change.new
    if new is None:
        return {"path": change.path}
    return {
        "path": change.path,
        "kind": new.kind.value,
        "mode": new.mode,
        "owner": new.owner,
        "group": new.group,
        "target": new.target,
        "source": source,
    }


def _follow(child: subprocess.Popen[bytes], until_s: float) -> tuple[str, bool]:
    """The end of what it says, and whether it ended in time."""
    assert child.stdout is not None
    tail, cut = b"", False
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            left_s = until_s - clock.monotonic_s()
            if left_s <= 0 or not selector.select(left_s):
                return _text(tail, cut), False
            some = os.read(child.stdout.fileno(), 1 << 16)
            if not some:
                return _text(tail, cut), True
            cut = cut or len(tail) + len(some) > OUTPUT_MAX_BYTES
            tail = (tail + some)[-OUTPUT_MAX_BYTES:]


def _text(tail: bytes, cut: bool) -> str:
    if cut:  # what is left of the first line is no line
        tail = tail.partition(b"\n")[2] or tail
    return tail.decode(errors="replace")
