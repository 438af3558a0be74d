"""Services of this node: what they are at, and acting on them, whatever starts them.

Room: agent. The words that systemd and the command backend share; `systemd.py` is the other
backend. Refuses to know what a service does and where it should run.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import tempfile
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from carpool.agent.together import together
from carpool.errors import CarpoolError
from carpool.model.keypath import quoted
from carpool.model.section import SERVICE_TIMEOUT_S

TAIL_MAX_BYTES = 4096  # of what a failed command said
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9:_.@\\-]{0,250}")  # unit names, systemd.unit(5)

# Exit statuses of init scripts: LSB 5.0, 22.2 "Init Script Actions".
_RUNS, _STOPPED, _UNKNOWN = 0, 3, 4  # of `status`
_UNIMPLEMENTED, _NOT_RUNNING = 3, 7  # of other actions


class Action(StrEnum):
    """`reload` leaves a stopped service stopped; `restart` starts it."""

    START = "start"
    STOP = "stop"
    RESTART = "restart"
    RELOAD = "reload"
    ENABLE = "enable"  # from the next boot on; starts nothing
    DISABLE = "disable"


@dataclass(frozen=True, slots=True)
class ServiceState:
    name: str
    installed: bool
    active: bool = False
    enabled: bool | None = None  # None: that cannot be said (static units, command backend)
    wanted_by: tuple[str, ...] = ()  # who starts it at a boot although it is not enabled
    since: str = ""  # RFC 3339, of its being active or not; "" if unknown
    memory_bytes: int | None = None
    changed: str = ""  # another text each time when it was begun, ended or reloaded; "" if unknown
    sub: str = ""  # what the backend calls its state: "running", "exited", "failed"


class ServiceError(CarpoolError):
    """A service did not do what it was told; the message holds its own last words."""


class Services(Protocol):
    """What starts and stops services here. Names are without `.service`."""

    async def states(self, names: Sequence[str]) -> list[ServiceState]:
        """In the order of the names."""
        ...

    async def act(self, name: str, action: Action, timeout_s: float = SERVICE_TIMEOUT_S) -> None:
        """Returns when it is done. Raises ServiceError."""
        ...


def checked(name: str) -> str:
    """A name that is safe as an argument. Raises ServiceError."""
    if not _NAME.fullmatch(name):
        raise ServiceError(
            f"{quoted(name[:80])} is no name of a service",
            hint="a unit's name without .service, such as dnsmasq",
        )
    return name


class CommandServices:
    """Runs a command for each action: `("rc-service", "{service}", "{action}")`.

    Exit status 0 is well. The action `status` says 0 for active, 3 for inactive, 4 for unknown, any
    other for failed. A `reload` that is not implemented (3) becomes a `restart`.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)

    async def states(self, names: Sequence[str]) -> list[ServiceState]:
        return await together(self._state(name) for name in names)

    async def act(self, name: str, action: Action, timeout_s: float = SERVICE_TIMEOUT_S) -> None:
        status, said = await self._run(name, action, timeout_s)
        if action is Action.RELOAD and status in (_UNIMPLEMENTED, _NOT_RUNNING):
            if not (await self._state(name, timeout_s)).active:
                return
            action = Action.RESTART
            status, said = await self._run(name, action, timeout_s)
        if status != 0:
            raise ServiceError(
                f"{action} of {name} failed: `{' '.join(self._argv(name, action))}` "
                f"gave exit status {status}" + (f":\n{said}" if said else ""),
                hint="run it by hand; the command stands under [services] in node.toml",
            )

    async def _state(self, name: str, timeout_s: float = SERVICE_TIMEOUT_S) -> ServiceState:
        status, _ = await self._run(name, "status", timeout_s)
        if status == _UNKNOWN:
            return ServiceState(name, installed=False)
        sub = {_RUNS: "running", _STOPPED: "stopped"}.get(status, "failed")
        return ServiceState(name, installed=True, active=status == _RUNS, sub=sub)

    def _argv(self, name: str, action: str) -> list[str]:
        values = {"{service}": checked(name), "{action}": action}
        return [
            re.sub(r"\{service\}|\{action\}", lambda mark: values[mark[0]], word)
            for word in self._command
        ]

    async def _run(self, name: str, action: str, timeout_s: float) -> tuple[int, str]:
        argv = self._argv(name, action)
        try:
            return await run(argv, timeout_s)
        except TimeoutError:
            raise ServiceError(
                f"{action} of {name} did not end in {timeout_s:g} s: `{' '.join(argv)}`",
                hint="run it by hand; the command stands under [services] in node.toml",
            ) from None
        except OSError as error:
            raise ServiceError(
                f"cannot run `{argv[0]}`: {error.strerror}",
                hint="the command stands under [services] in node.toml",
            ) from error


async def _buried(process: asyncio.subprocess.Process) -> None:
    await process.wait()
    await asyncio.sleep(0)  # asyncio closes what was the process's in its next round


async def _surely(work: Coroutine[object, object, None]) -> None:
    """To its end, however often this is cancelled meanwhile: it is a matter of milliseconds."""
    task = asyncio.create_task(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError


async def run(argv: Sequence[str], timeout_s: float) -> tuple[int, str]:
    """Exit status and the end of what was said. TimeoutError when it was killed, with its process
    group; OSError if it cannot be started."""
    # A file, not a pipe: a daemon that the command started may hold it open for ever.
    with tempfile.TemporaryFile() as said:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=said,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(timeout_s):
                status = await process.wait()
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):  # it has ended, and asyncio has not said so yet
                    os.killpg(process.pid, signal.SIGKILL)
            await _surely(_buried(process))
        said.seek(max(0, said.seek(0, os.SEEK_END) - TAIL_MAX_BYTES))
        return status, said.read().decode(errors="replace").strip()
