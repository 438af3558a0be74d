"""apt of this machine: what it would upgrade, and having it do so outside of the agent's sandbox.

Room: agent. apt runs as a transient unit of systemd, because carpool is a package, too: the agent
is restarted by its own upgrade, and apt goes on. What it says is in a file, how it ended in another
one; both are found by the agent that comes after. Refuses to know when it may.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dbus_fast import Variant

from carpool.agent.scriptrun import Call, Runner
from carpool.agent.services import ServiceError, Services
from carpool.agent.systemd import SYSTEMD, SystemdServices, UnitExistsError
from carpool.api.clean import clean
from carpool.errors import CarpoolError, ConfigError, KernelError
from carpool.kernel import clock
from carpool.kernel.checkrun import ENVIRONMENT
from carpool.kernel.unitstate import BOOTED
from carpool.machine import packages
from carpool.machine.packages import Pending

DIRECTORY = "update"  # of the state directory
UNIT = "carpool-update.service"
LIST_WAIT_S, REFRESH_WAIT_S = 60.0, 300.0
LIST_MAX_BYTES = 8 << 20
LINE_MAX = 500  # letters, of what it says
PIECE_BYTES = 64 << 10  # that is read of it at once
STOP_S = 900.0  # a shutdown waits for dpkg: half an upgrade is none
# Old files of configuration are kept; what else asks (ucf, listchanges) asks nobody.
SETTINGS = {
    **ENVIRONMENT,
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    "APT_LISTCHANGES_FRONTEND": "none",
    "UCF_FORCE_CONFFOLD": "1",
}
LISTING = ("-s", "-q", "-o", "Debug::NoLocking=1", "upgrade", "--with-new-pkgs")
# $1 apt-get, $2 the directory. What is said is bounded by dd, whose reads come as apt's writes do;
# how it ended is there whole or not at all.
SCRIPT = """
exec </dev/null
dir=$2 quiet="-q -o DPkg::Lock::Timeout=60 -o Dpkg::Use-Pty=0"
{
    "$1" $quiet -o APT::Update::Error-Mode=any update &&
    "$1" $quiet -y -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \\
        upgrade --with-new-pkgs
    echo $? >"$dir/status.new"
} 2>&1 | { dd bs=1024 count=16384 status=none; cat >/dev/null; } >>"$dir/log"
mv "$dir/status.new" "$dir/status"
"""


class Launcher(Protocol):
    """Runs one program that outlives the agent."""

    def check(self) -> None:
        """Raises ConfigError where it cannot."""
        ...

    async def start(self, argv: Sequence[str]) -> None:
        """Returns when it runs. Raises CarpoolError."""
        ...

    async def is_running(self) -> bool: ...

    async def reboot(self) -> None: ...


class UnitLauncher:
    """As a transient unit."""

    def __init__(self, systemd: SystemdServices) -> None:
        self._systemd = systemd

    def check(self) -> None:
        """It always can."""

    async def start(self, argv: Sequence[str]) -> None:
        settings = [f"{key}={value}" for key, value in SETTINGS.items()]
        properties: list[list[Any]] = [
            ["Description", Variant("s", "carpool: packages are updated")],
            ["Type", Variant("s", "exec")],
            ["ExecStartEx", Variant("a(sasas)", [[argv[0], list(argv), ["no-env-expand"]]])],
            ["Environment", Variant("as", settings)],
            ["KillMode", Variant("s", "process")],  # what a package starts by itself lives on
            ["TimeoutStopUSec", Variant("t", int(STOP_S * 1e6))],
            ["CollectMode", Variant("s", "inactive-or-failed")],
        ]
        try:
            await self._systemd.job(
                "StartTransientUnit", "ssa(sv)a(sa(sv))", [UNIT, "fail", properties, []]
            )
        except UnitExistsError as error:
            raise ConfigError(
                f"{UNIT} runs already", hint=f"wait until it has ended: `systemctl status {UNIT}`"
            ) from error

    async def is_running(self) -> bool:
        try:
            (path,) = await self._systemd.manager("GetUnit", "s", [UNIT])
            found = await self._systemd.properties(path, f"{SYSTEMD}.Unit")
        except ServiceError:
            return False  # it is gone with its end
        return found["ActiveState"] in ("active", "activating", "deactivating")

    async def reboot(self) -> None:
        """In good order: failover hands over what it may have taken meanwhile."""
        arguments = ["reboot.target", "replace-irreversibly"]
        await self._systemd.manager("StartUnit", "ss", arguments)


class NoLauncher:
    """Where no systemd was booted: what the agent starts itself ends with it, and an update of
    carpool ends the agent. A container of a developer is such a place, too."""

    def check(self) -> None:
        raise ConfigError(
            "without systemd nothing here goes on with an update when the agent is updated itself",
            hint="`apt-get upgrade`, and a reboot, in a shell of it",
        )

    async def start(self, argv: Sequence[str]) -> None:
        self.check()

    async def is_running(self) -> bool:
        return False

    async def reboot(self) -> None:
        self.check()


def launcher_for(services: Services) -> Launcher:
    if isinstance(services, SystemdServices) and BOOTED.is_dir():
        return UnitLauncher(services)
    return NoLauncher()


@dataclass(frozen=True, slots=True)
class Found:
    """`lists_s`: how old the lists of packages are; None: there are none."""

    pending: Pending
    lists_s: float | None
    reboot: str  # why one is needed; "": none is


class Apt:
    """`root`: what the agent takes for the root of the file system; another one has no apt of its
    own."""

    def __init__(
        self,
        directory: Path,
        launcher: Launcher,
        runner: Runner,
        wall_s: Callable[[], float],
        *,
        root: Path = Path("/"),
        program: str = "apt-get",
    ) -> None:
        self._directory = directory
        self._launcher = launcher
        self._runner = runner
        self._wall_s = wall_s
        self._root = root
        self._program = program
        self.reboot = launcher.reboot

    async def found(self) -> Found:
        """Raises CarpoolError."""
        self.check()
        text = await self._said([self._program, *LISTING])
        lists_s, reboot = await asyncio.to_thread(lambda: (self._lists_s(), self.needs_reboot()))
        return Found(packages.pending(text), lists_s, reboot)

    async def refresh(self) -> None:
        """Have the lists of packages fetched. Raises CarpoolError."""
        self.check()
        argv = [self._program, "-q", "-o", "APT::Update::Error-Mode=any", "update"]
        ran = await self._runner.run(Call("carpool-packages", argv, SETTINGS, b"", REFRESH_WAIT_S))
        if not ran.ok:
            why = packages.failure(ran.output) or ran.words
            raise CarpoolError(f"the lists of packages: {why}", hint=packages.advice(why))

    def check(self) -> None:
        if self._root != Path("/"):
            raise ConfigError(
                f"the root of this node is {self._root}: it has no packages of its own",
                hint="update the machine that it is on",
            )

    def may_begin(self) -> None:
        """Raises ConfigError where there is nothing that could do it."""
        self.check()
        self._launcher.check()

    async def begin(self) -> None:
        """Raises CarpoolError."""
        try:
            await asyncio.to_thread(self._prepare)
        except OSError as error:
            raise KernelError(f"{self._directory}: {error.strerror}") from error
        script = ["/bin/sh", "-c", SCRIPT, "carpool-update", self._program, str(self._directory)]
        await self._launcher.start(script)

    async def is_running(self) -> bool:
        return await self._launcher.is_running()

    def status(self) -> int | None:
        """How apt ended; None: not yet, or without a word. Blocking."""
        try:
            return int((self._directory / "status").read_text())
        except (OSError, ValueError):
            return None

    def said(self, at: int) -> tuple[list[str], int]:
        """Whole lines from a byte on, and where to go on. Blocking."""
        try:
            with (self._directory / "log").open("rb") as file:
                file.seek(at)
                piece = file.read(PIECE_BYTES)
        except OSError:
            return [], at
        whole = piece.rfind(b"\n") + 1
        if not whole and len(piece) == PIECE_BYTES:
            whole = len(piece)  # a line without an end
        text = piece[:whole].decode(errors="replace")
        return [_line(line) for line in text.split("\n")[:-1] if line], at + whole

    def all_said(self) -> str:
        """Blocking."""
        try:
            return (self._directory / "log").read_text(errors="replace")
        except OSError:
            return ""

    def needs_reboot(self) -> str:
        """Why; "" for no. Blocking."""
        if (self._root / "run/reboot-required").exists():
            return "a package asks for it (/run/reboot-required)"
        running = os.uname().release
        kernels = (self._root / "boot").glob("vmlinuz-*")
        newer = packages.newer_kernel(running, [one.name.partition("-")[2] for one in kernels])
        return f"kernel {newer} is installed, {running} runs" if newer else ""

    def _prepare(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("status", "status.new", "log"):
            (self._directory / name).unlink(missing_ok=True)

    def _lists_s(self) -> float | None:
        lists = self._root / "var/lib/apt/lists"
        times = []
        for path in (lists, lists / "partial"):  # a fetch that finds nothing new touches the latter
            with contextlib.suppress(OSError):
                times.append(path.stat().st_mtime)
        return max(0.0, self._wall_s() - max(times)) if times else None

    async def _said(self, argv: Sequence[str]) -> str:
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=SETTINGS,
            )
        except OSError as error:
            raise ConfigError(
                f"this system has no {argv[0]}: {error.strerror}",
                hint="carpool updates Debian and what is made of it; use the system's own tools",
            ) from error
        assert process.stdout is not None
        try:
            async with asyncio.timeout(LIST_WAIT_S):
                said = await _bounded(process.stdout)
                status = await process.wait()
        except TimeoutError:
            raise CarpoolError(f"{argv[0]} has not answered within {LIST_WAIT_S:g} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if status != 0:
            why = packages.failure(said)
            raise CarpoolError(f"{argv[0]}: {why}", hint=packages.advice(why))
        return said


async def _bounded(stream: asyncio.StreamReader) -> str:
    said = bytearray()
    while piece := await stream.read(PIECE_BYTES):
        said += piece[: LIST_MAX_BYTES - len(said)]
    return said.decode(errors="replace")


def _line(line: str) -> str:
    """What a terminal would show of it at the end."""
    return clean(line.rstrip("\r").rpartition("\r")[2].expandtabs())[:LINE_MAX]


def rows(found: Found) -> Mapping[str, object]:
    """As answers tell it."""
    return {
        "packages": [
            {
                "name": one.name,
                "old": one.old,
                "new": one.new,
                "origins": list(one.origins),
                "security": one.is_security,
            }
            for one in found.pending.packages
        ],
        "left": list(found.pending.left),
        "lists_s": found.lists_s,
        "reboot": found.reboot,
    }


def apt_of(services: Services, runner: Runner, state_dir: Path, root: Path) -> Apt:
    """That of this machine."""
    launcher = launcher_for(services)
    return Apt(state_dir / DIRECTORY, launcher, runner, lambda: clock.wall_us() / 1e6, root=root)
