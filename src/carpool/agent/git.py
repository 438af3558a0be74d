"""Runs git on one repository of ours, where nobody's configuration, hooks or environment count.

Room: agent. Knows processes, pipes, locks and what their failures mean; refuses to know what the
repository is for. Blocking.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from carpool.errors import KernelError

BRANCH = "refs/heads/main"
READ_TIMEOUT_S = 60.0
WRITE_TIMEOUT_S = 600.0  # 200 MB on a slow disk, or packing
CHUNK_BYTES = 1 << 20
NICE = 10  # of who yields: a tenth of a processor that somebody else wants, sched(7)
_SAID_MAX = 300  # characters of git's own words in an error

_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.attributesFile": "/dev/null",
    "core.fsync": "all",  # a revision that was told about is on the disk
    "core.compression": "1",  # 200 MB in seconds; packing does not make it smaller by much
    "core.bigFileThreshold": "8m",  # larger contents are streamed, never held in memory
    "fastimport.unpackLimit": "1",  # one pack for each revision: two fsyncs, not one an object
    "gc.auto": "0",
    "maintenance.auto": "false",
    "pack.threads": "1",  # the other cores forward packets
    "pack.windowMemory": "64m",
}
# What a killed git leaves behind. Whoever holds our lock knows that no git of ours is alive.
_LEFT_BEHIND = (
    "*.lock",
    "refs/heads/*.lock",
    "objects/pack/tmp_*",
    "objects/pack/.tmp-*",
    "objects/pack/*.keep",
    "fast_import_crash_*",
)


@dataclass(frozen=True, slots=True)
class Found:
    """An object of the repository."""

    id: str  # 40 hexadecimal digits
    kind: str  # commit, tree, blob
    size: int  # bytes


class Objects:
    """Reads objects by name (`ID`, `ID:path`, `ID^`); a name must not hold a line break."""

    def __init__(self, into: IO[bytes], out: IO[bytes]) -> None:
        self._into = into
        self._out = out

    def find(self, name: str) -> Found | None:
        """None when there is no such object. Raises EOFError when git is gone."""
        return self._ask("info", name)

    def read(self, name: str, bytes_max: int) -> bytes | None:
        """All of it; None when there is no such object, or a larger one."""
        found = self.find(name)
        if found is None or found.size > bytes_max:
            return None
        return b"".join(self.stream(found))

    def stream(self, found: Found) -> Iterator[bytes]:
        """Its bytes in chunks; take all before the next question."""
        if self._ask("contents", found.id) is None:
            raise EOFError
        left = found.size
        while left:
            chunk = self._out.read(min(left, CHUNK_BYTES))
            if not chunk:
                raise EOFError
            left -= len(chunk)
            yield chunk
        self._out.read(1)  # the line break after it

    def _ask(self, command: str, name: str) -> Found | None:
        assert "\n" not in name
        self._into.write(f"{command} {name}\n".encode())
        self._into.flush()
        line = self._out.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        words = line.decode("utf-8", "replace").split(" ")
        if words[-1] in ("missing\n", "ambiguous\n"):
            return None
        return Found(words[0], words[1], int(words[2]))


class Git:
    """The bare repository in `directory`. All methods raise KernelError."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def exists(self) -> bool:
        """An empty directory is no repository yet; one with anything in it must be a whole one."""
        try:
            return any(self.directory.iterdir())
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._refused("read", error) from error

    def head(self) -> str | None:
        """The newest commit; None when there is none yet."""
        if named := self._named():
            return named
        packed = self.directory / "packed-refs"
        try:
            told = packed.read_bytes() if packed.exists() else b""
        except OSError as error:
            raise self._refused("read", error) from error
        if (self.directory / BRANCH).exists() or f"{BRANCH}\n".encode() in told:
            if named := self._named():  # the first one came in this moment
                return named
            raise self._failed(f"{BRANCH} names no commit")  # beginning anew would hide all others
        return None

    def _named(self) -> str:
        return self.run("rev-parse", "--verify", "-q", BRANCH, nothing_ok=True).decode().strip()

    def run(
        self, *arguments: str, timeout_s: float = READ_TIMEOUT_S, nothing_ok: bool = False
    ) -> bytes:
        """What git prints; with `nothing_ok`, an exit code of 1 without a word means nothing."""
        try:
            done = subprocess.run(
                self._line(*arguments),
                env=_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
                umask=0o077,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise self._late(arguments[0], timeout_s) from error
        except OSError as error:
            raise _no_git(error) from error
        if done.returncode and not (nothing_ok and done.returncode == 1 and not done.stderr):
            raise self._failed(_said(done.stderr, done.returncode))
        return done.stdout

    @contextmanager
    def talk(
        self,
        *arguments: str,
        timeout_s: float = READ_TIMEOUT_S,
        lock: int | None = None,
        yields: bool = False,
    ) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
        """Its standard input and output. Killed when the body raises or the time is up. It holds
        `lock` as well, so that a git that outlives us is waited for by whoever comes next. One that
        `yields` has the processors when others want them less."""
        late = threading.Event()
        with open(os.memfd_create("git-stderr"), "w+b") as errors:
            process = self._start(arguments, errors, lock)
            assert process.stdin is not None and process.stdout is not None
            if yields:
                with contextlib.suppress(OSError):  # then it competes
                    os.setpriority(os.PRIO_PROCESS, process.pid, NICE)

            def end() -> None:
                late.set()
                _kill(process)

            timer = threading.Timer(timeout_s, end)
            timer.daemon = True
            timer.start()
            try:
                yield process.stdin, process.stdout
                process.stdin.close()
                code = process.wait()
                broken = code != 0
            except (BrokenPipeError, EOFError):
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()  # the end for a git that lives
                code = process.wait()
                broken = True
            finally:
                timer.cancel()
                _kill(process)
                process.wait()
                process.stdout.close()
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
            if late.is_set():
                raise self._late(arguments[0], timeout_s)
            if broken:
                errors.seek(0)
                raise self._failed(_said(errors.read(CHUNK_BYTES), code))

    @contextmanager
    def objects(self) -> Iterator[Objects]:
        """Reads as many objects as you like with one process."""
        with self.talk("cat-file", "--batch-command") as (into, out):
            yield Objects(into, out)

    @contextmanager
    def writing(self) -> Iterator[int]:
        """The only writer, among processes and threads: waits for the one before. Makes the
        repository when there is none. Gives the lock's descriptor, for `talk`."""
        with self._locked() as lock:
            if not self.exists():
                self._make()
            self._sweep()
            yield lock

    def settle(self) -> None:
        """What was written is there after a power loss too. git syncs files, but no directory."""
        try:
            for path in (self.directory / "objects" / "pack", self.directory / "refs" / "heads"):
                _sync(path)
        except OSError as error:
            raise self._refused("sync", error) from error

    @contextmanager
    def _locked(self) -> Iterator[int]:
        path = self.directory.with_name(f"{self.directory.name}.lock")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise self._refused("lock", error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel lets go of it when the last holder dies
            yield lock
        finally:
            os.close(lock)

    def _make(self) -> None:
        """Whole or not at all: under another name first."""
        fresh = self.directory.with_name(f"{self.directory.name}.new")
        try:
            if fresh.exists():
                shutil.rmtree(fresh)
            fresh.mkdir(mode=0o700)
            Git(fresh).run("init", "--quiet", "--bare", "--template=", "--initial-branch=main")
            (fresh / "objects" / "pack").mkdir(exist_ok=True)
            for path in (fresh / "HEAD", fresh / "config"):
                _sync(path)
            _sync(fresh)
            fresh.rename(self.directory)
            _sync(self.directory.parent)
        except OSError as error:
            raise self._refused("make", error) from error

    def _sweep(self) -> None:
        try:
            for pattern in _LEFT_BEHIND:
                for path in self.directory.glob(pattern):
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise self._refused("tidy", error) from error

    def _start(
        self, arguments: tuple[str, ...], errors: IO[bytes], lock: int | None
    ) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                self._line(*arguments),
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                umask=0o077,
                process_group=0,  # it has children
                pass_fds=() if lock is None else (lock,),
            )
        except OSError as error:
            raise _no_git(error) from error

    def _line(self, *arguments: str) -> list[str]:
        settings = [word for key, value in _SETTINGS.items() for word in ("-c", f"{key}={value}")]
        return ["git", f"--git-dir={self.directory}", *settings, *arguments]

    def _failed(self, said: str) -> KernelError:
        where = self.directory
        if "No space left" in said or "Disk quota" in said:
            return KernelError(
                f"no space left to write the history in {where}: {said}",
                hint="free some space there; what it held before is whole",
            )
        return KernelError(
            f"git fails on the history in {where}: {said}",
            hint=f"look with `git --git-dir={where} fsck`; if it is damaged, move it away "
            f"(mv {where} {where}.damaged): a fresh one begins with the next change",
        )

    def damaged(self, what: str) -> KernelError:
        """An error for what is in the repository and cannot be."""
        return self._failed(what)

    def _late(self, verb: str, timeout_s: float) -> KernelError:
        return KernelError(
            f"git {verb} on the history in {self.directory} took longer than {timeout_s:g} s",
            hint="is the disk failing, or very slow? Look at `dmesg`",
        )

    def _refused(self, verb: str, error: OSError) -> KernelError:
        return KernelError(
            f"cannot {verb} the history in {self.directory}: {error.strerror}",
            hint="run as root; is the disk full or read-only?",
        )


def _environment() -> dict[str, str]:
    """Made from nothing: no GIT_* of whoever started us, no home, no system configuration."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_TERMINAL_PROMPT": "0",
    }


def _kill(process: subprocess.Popen[bytes]) -> None:
    """With all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def _said(errors: bytes, code: int) -> str:
    lines = [line.strip() for line in errors.decode("utf-8", "replace").splitlines()]
    text = "; ".join(line for line in lines if line)
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shown[:_SAID_MAX] or f"exit code {code}"


def _no_git(error: OSError) -> KernelError:
    return KernelError(f"cannot run git: {error.strerror}", hint="install it: apt install git")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
