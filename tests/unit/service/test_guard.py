"""The guard with real processes: restart, clean stop, giving up, hung workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.netns.lab import wait_until

PROGRAM = """
import os, signal, sys, time
from carpool.service import guard
from carpool.kernel.clock import monotonic_s
guard.STOP_WAIT_S = {wait_s}
def main(parent_fd, again):
    {setup}
    with open({log!r}, "a") as log:
        log.write(f"{{os.getpid()}}\\n")
    {body}
sys.exit(guard.guard(main, monotonic_s))
"""
WAIT_FOR_PARENT = "os.read(parent_fd, 1); open({gone!r}, 'w').close(); return 0"
OBEY = "signal.signal(signal.SIGTERM, lambda *_: os._exit(0))"
IGNORE = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
WAIT = "signal.pause(); return 0"


def start(
    tmp_path: Path, body: str, setup: str = "pass", wait_s: float = 20
) -> subprocess.Popen[bytes]:
    program = PROGRAM.format(log=str(tmp_path / "log"), body=body, setup=setup, wait_s=wait_s)
    return subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE)


def workers(tmp_path: Path) -> list[int]:
    log = tmp_path / "log"
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def newest(tmp_path: Path, count: int) -> int:
    wait_until(lambda: len(workers(tmp_path)) >= count, 10, f"{count} workers were started")
    return workers(tmp_path)[-1]


def end(guard: subprocess.Popen[bytes]) -> tuple[int, str]:
    _, told = guard.communicate(timeout=40)
    return guard.returncode, told.decode()


def test_killed_worker_is_started_again_and_both_stop_cleanly(tmp_path: Path) -> None:
    guard = start(tmp_path, WAIT, OBEY)
    first = newest(tmp_path, 1)
    os.kill(first, signal.SIGKILL)
    assert newest(tmp_path, 2) != first
    guard.send_signal(signal.SIGTERM)
    code, told = end(guard)
    assert code == 0
    assert "killed by SIGKILL; starting it again" in told


def test_clean_end_of_the_worker_ends_the_guard(tmp_path: Path) -> None:
    assert end(start(tmp_path, "return 0")) == (0, "")


def test_worker_that_always_dies_is_given_up(tmp_path: Path) -> None:
    code, told = end(start(tmp_path, "raise RuntimeError('broken')"))
    assert code == 1
    assert len(workers(tmp_path)) == 6  # the first, and five more
    assert "giving up" in told and "RuntimeError: broken" in told


def test_hung_worker_is_killed(tmp_path: Path) -> None:
    guard = start(tmp_path, WAIT, IGNORE, wait_s=0.5)
    newest(tmp_path, 1)
    guard.send_signal(signal.SIGTERM)
    code, told = end(guard)
    assert code == 1
    assert "did not stop" in told


def test_worker_learns_of_the_guards_death(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    guard = start(tmp_path, WAIT_FOR_PARENT.format(gone=str(gone)))
    newest(tmp_path, 1)
    guard.kill()
    wait_until(gone.exists, 5, "the pipe broke in the worker")
    guard.communicate(timeout=10)
