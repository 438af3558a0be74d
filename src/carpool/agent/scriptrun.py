"""Runs one program of the operator's: a document on its stdin, a limit in time, what it said last.

Room: agent. As a process of the agent; `transient.py` has systemd do it. Refuses to know what the
program is for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from carpool.api.clean import clean
from carpool.kernel.checkrun import ENVIRONMENT

GRACE_S = 2.0  # between SIGTERM and SIGKILL
OUTPUT_MAX_BYTES = 16 << 10  # of what it says the end is kept
LAST_LINE_MAX = 200  # characters
NOBODY = 65534  # base-passwd(5): nobody, nogroup
DRAIN_S = 0.5  # for what it said last, when it has ended
PIECE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Call:
    unit: str  # a name for it: carpool-hook-cloud
    argv: Sequence[str]  # the first by its path, or a name to be found in that of ENVIRONMENT
    environment: Mapping[str, str]  # besides that of every script
    document: bytes  # on stdin
    timeout_s: float
    outlives: bool = True  # an agent that ends; else it is ended as soon as `run` is cancelled
    unprivileged: bool = False  # as nobody: it needs nothing of this machine but the network


@dataclass(frozen=True, slots=True)
class Ran:
    """`status` is an exit status, negative for a signal; None when it could not be started or
    was ended at its limit: `failure` says which."""

    status: int | None
    took_s: float
    output: str = ""
    failure: str = ""

    @property
    def ok(self) -> bool:
        return self.status == 0

    @property
    def words(self) -> str:
        """How it ended: `exit status 0`, `ended by SIGKILL`, or its failure."""
        if self.status is None:
            return self.failure
        if self.status >= 0:
            return f"exit status {self.status}"
        with contextlib.suppress(ValueError):
            return f"ended by {signal.Signals(-self.status).name}"
        return f"ended by signal {-self.status}"

    @property
    def said(self) -> str:
        """The last that it said, or else how it ended."""
        return self.last_line or self.words

    @property
    def last_line(self) -> str:
        """The last that it said, for one line of text."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return clean(lines[-1])[:LAST_LINE_MAX] if lines else ""


class Runner(Protocol):
    async def run(self, call: Call) -> Ran:
        """Returns when it has ended, with everything that it started."""
        ...


class DirectRunner:
    """Children of this process, each in a session of its own; none outlives it."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s

    async def run(self, call: Call) -> Ran:
        begun_s = self._now_s()
        with stdin_of(call.document) as document, Output() as output:
            try:
                process = await asyncio.create_subprocess_exec(
                    *call.argv,
                    stdin=document,
                    stdout=output.writer,
                    stderr=output.writer,
                    start_new_session=True,
                    cwd="/",
                    env={**ENVIRONMENT, **call.environment},
                    **_nobody(call),
                )
            except OSError as error:
                return Ran(None, 0.0, failure=f"cannot be started: {error.strerror}")
            output.hang_up()
            async with output.heard():
                in_time = await _end(process, call.timeout_s)
        took_s = self._now_s() - begun_s
        if in_time:
            return Ran(process.returncode, took_s, output.text)
        return Ran(None, took_s, output.text, over(call.timeout_s))


def _nobody(call: Call) -> dict[str, Any]:
    """Arguments that make it one; who is not root already is one for us."""
    if not call.unprivileged or os.geteuid() != 0:
        return {}
    return {"user": NOBODY, "group": NOBODY, "extra_groups": ()}


def over(timeout_s: float) -> str:
    return f"did not end in {timeout_s:g} s, and was ended"


async def _end(process: asyncio.subprocess.Process, timeout_s: float) -> bool:
    """Whether it ended in time. Nothing of its session is left in either case."""
    try:
        async with asyncio.timeout(timeout_s):
            await process.wait()
        return True
    except TimeoutError:
        _signal(process, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await process.wait()
        return False
    finally:
        _signal(process, signal.SIGKILL)  # what it started, too
        await asyncio.shield(process.wait())


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """To the whole process group, whose leader may have ended before the others."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


@contextlib.contextmanager
def stdin_of(document: bytes) -> Iterator[int]:
    """A descriptor to read it from: a file in memory, which waits for no reader."""
    descriptor = os.memfd_create("document", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, document)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


class Output:
    """What is written to `writer`, the end of it: a pipe that is read while `heard` is entered."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(self.writer, True)
        self._tail = b""
        self._cut = False

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()
        os.close(self._reader)

    def hang_up(self) -> None:
        """The program has its own `writer`."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    @contextlib.asynccontextmanager
    async def heard(self) -> AsyncIterator[None]:
        """At the end, what is there still is read, if we have hung up. Who holds the other end and
        lives on is not waited for."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._reader, self._read, ended)
        try:
            yield
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_S):
                    await ended.wait()
        finally:
            loop.remove_reader(self._reader)

    def _read(self, ended: asyncio.Event) -> None:
        try:
            some = os.read(self._reader, PIECE_BYTES)
        except BlockingIOError:
            return
        if not some:
            asyncio.get_running_loop().remove_reader(self._reader)
            ended.set()
        self._cut = self._cut or len(self._tail) + len(some) > OUTPUT_MAX_BYTES
        self._tail = (self._tail + some)[-OUTPUT_MAX_BYTES:]

    @property
    def text(self) -> str:
        tail = self._tail
        if self._cut:  # what is left of the first line is no line
            tail = tail.partition(b"\n")[2] or tail
        return tail.decode(errors="replace")
