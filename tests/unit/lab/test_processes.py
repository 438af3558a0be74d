"""Processes are known by pid and start time, and ended by exactly that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace

from carpool.lab import processes
from carpool.lab.processes import Tracked, start_ticks
from tests.netns.lab import wait_until


def spawn(script: str) -> Tracked:
    child = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    ticks = start_ticks(child.pid)
    assert ticks is not None
    child.returncode = 0  # it is ours to bury from here on
    return Tracked("fw1", "failover", child.pid, ticks)


def test_another_process_with_the_same_pid_is_left_alone() -> None:
    process = spawn("import time; time.sleep(60)")
    stranger = replace(process, started_ticks=process.started_ticks - 1)
    assert not stranger.alive
    processes.end([stranger])
    assert process.alive
    processes.end([process])
    assert not process.alive


def test_one_that_ignores_sigterm_is_killed() -> None:
    read, write = os.pipe()
    os.set_inheritable(write, True)
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
            f"os.write({write}, b'x'); time.sleep(60)",
        ],
        start_new_session=True,
        pass_fds=[write],
    )
    assert os.read(read, 1) == b"x"
    os.close(read)
    os.close(write)
    ticks = start_ticks(process.pid)
    assert ticks is not None
    process.returncode = 0
    tracked = Tracked("fw1", "states", process.pid, ticks)
    processes.end([tracked], wait_s=0.2)
    assert not tracked.alive


def test_a_signal_reaches_the_workers_of_a_process_too() -> None:
    process = spawn("import os, time; os.fork(); time.sleep(60)")
    group = f"/proc/{process.pid}/task/{process.pid}/children"

    def child() -> int | None:
        with open(group, encoding="ascii") as file:
            words = file.read().split()
        return int(words[0]) if words else None

    worker = wait_until(child)
    assert worker is not None
    processes.send([process], signal.SIGKILL)
    wait_until(lambda: not process.alive)
    wait_until(lambda: start_ticks(worker) is None)


def test_there_is_no_start_time_without_a_process() -> None:
    assert start_ticks(2**22 + 1) is None  # above PID_MAX_LIMIT, include/linux/threads.h
