"""The lab's processes: in their own sessions, remembered by pid and start time, ended exactly.

Room: lab. A pid alone is no name: the kernel gives it again. A pid with its start time is one, so
nothing is ever signalled that this lab did not start. Refuses to know what the processes do.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from carpool.errors import CarpoolError
from carpool.kernel.clock import monotonic_s, sleep_s
from carpool.lab import shell

END_WAIT_S = 5.0
LISTEN_FDS_START = 3  # sd_listen_fds(3)
POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class Tracked:
    """A process that the lab started; it leads a session and a process group of its own."""

    node: str
    role: str  # failover, states, agent or web
    pid: int
    started_ticks: int  # since boot, proc_pid_stat(5) field 22

    @property
    def alive(self) -> bool:
        _reap(self.pid)
        return start_ticks(self.pid) == self.started_ticks

    @property
    def leads(self) -> bool:
        """Whether it leads its process group, so that ending it ends its workers too."""
        try:
            return os.getpgid(self.pid) == self.pid
        except ProcessLookupError:
            return False


def start(
    namespace: str,
    node: str,
    role: str,
    argv: Sequence[str],
    log: Path,
    listener: socket.socket | None = None,
) -> Tracked:
    """Start a process in a namespace, in a session of its own; stdout and stderr go to `log`.
    `listener` is handed to it, as systemd would."""
    handed = {} if listener is None else {"LISTEN_FDS": "1", "LISTEN_PID": "0"}
    pid = spawn(shell.inside(namespace, argv), log, {**os.environ, **handed}, listener)
    ticks = start_ticks(pid)
    if ticks is None:
        raise CarpoolError(f"{role} on {node} ended at once", hint=f"its last words are in {log}")
    return Tracked(node, role, pid, ticks)


def spawn(
    argv: Sequence[str],
    log: Path,
    environment: Mapping[str, str],
    listener: socket.socket | None = None,
) -> int:
    """A process in a session of its own, whose stdout and stderr go to `log`; gives its pid."""
    handed = []
    if listener is not None:
        handed.append((os.POSIX_SPAWN_DUP2, listener.fileno(), LISTEN_FDS_START))
    with log.open("ab") as output, open(os.devnull, "rb") as nothing:
        return os.posix_spawnp(
            argv[0],
            list(argv),
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, nothing.fileno(), 0),
                (os.POSIX_SPAWN_DUP2, output.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, output.fileno(), 2),
                *handed,  # the last: until then that number may be another one's
            ],
            setsid=True,
        )


def send(processes: Iterable[Tracked], number: signal.Signals) -> None:
    """Signal whole process groups, one right after the other; passes over those that are gone."""
    for process in processes:
        if process.alive:
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                pass


def end(processes: Sequence[Tracked], wait_s: float = END_WAIT_S) -> None:
    """SIGTERM, and SIGKILL to those groups whose leader is still there after `wait_s` seconds."""
    send(processes, signal.SIGTERM)
    wait_gone(processes, wait_s)
    send(processes, signal.SIGKILL)
    if not wait_gone(processes, wait_s):
        pids = ", ".join(str(process.pid) for process in processes if process.alive)
        raise CarpoolError(f"processes {pids} do not end, not even by SIGKILL")


def wait_gone(processes: Sequence[Tracked], wait_s: float) -> bool:
    """Wait until none is alive; whether that came true in time."""
    deadline_s = monotonic_s() + wait_s
    while any(process.alive for process in processes):
        if monotonic_s() > deadline_s:
            return False
        sleep_s(POLL_S)
    return True


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if there is none, or a corpse."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may hold anything; what follows the last one starts with field 3.
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[22 - 3])


def _reap(pid: int) -> None:
    """Bury it if it is our own child and dead; others bury theirs."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass
