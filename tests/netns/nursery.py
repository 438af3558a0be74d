"""Agents that start in a tenth of a second, and stop dead where a test wants them to.

A nursery is a process that has imported everything and forks: the child enters the namespace of a
firewall, and is `carpool run agent` as it is. What it does to files, and what it starts, Python
tells to audit hooks; at the one that a test chose it stops (SIGSTOP), and the test kills it, cuts
its link, or lets it go on. No line of carpool knows of it.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import mmap
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from carpool.kernel import clock
from tests.netns.agents import AgentNode
from tests.netns.lab import Namespace, enter, wait_until

ROOT = Path(__file__).parents[2]
ORDERS_BYTES = 4096
CLONE_NEWNS = 0x20000  # linux/sched.h
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Stop:
    """The `count`th event of this kind of which the arguments contain `words`."""

    event: str  # https://docs.python.org/3/library/audit_events.html
    words: str
    count: int = 1

    @property
    def order(self) -> bytes:
        return json.dumps([self.event, self.words, self.count]).encode() + b"\n"


class Child:
    """A forked agent, with the face of a Popen as far as the tests need it."""

    def __init__(self, pid: int, log: Path, orders: Path) -> None:
        self.pid = pid
        self._orders = orders
        self.returncode = 0  # it is not our child: nobody tells us
        self._log = log
        self._pidfd = os.pidfd_open(pid)

    def poll(self) -> int | None:
        return 0 if select.select([self._pidfd], [], [], 0)[0] else None

    def wait(self, timeout: float = 10) -> int:
        assert select.select([self._pidfd], [], [], timeout)[0], self.said()
        return 0

    def communicate(self, timeout: float = 10) -> tuple[str, None]:
        self.wait(timeout)
        return self.said(), None

    def send_signal(self, number: int) -> None:
        signal.pidfd_send_signal(self._pidfd, signal.Signals(number))

    def stop_at(self, stop: Stop) -> None:
        """From now on."""
        with self._orders.open("r+b") as file:
            file.write(b"\0" + stop.order)
            file.flush()
            file.seek(0)
            file.write(b"!")

    def said(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    @property
    def stopped(self) -> bool:
        return "\nState:\tT" in Path(f"/proc/{self.pid}/status").read_text()


class NurseryNode(AgentNode):
    """A firewall whose agents come from a nursery."""

    child: Child
    clock_off_s = 0.0  # of agents started from now on
    first_stop: Stop | None = None  # of the next one, from its first moment on

    def __init__(
        self, namespace: Namespace, directory: Path, name: str, others: Sequence[str]
    ) -> None:
        super().__init__(namespace, directory, name, others)
        self.disks: dict[Path, str] = {}  # small ones: where, and options of tmpfs; for one agent
        self._count = 0

    def begin(self) -> Child:  # type: ignore[override]
        self._count += 1
        log = self.directory / f"agent-{self._count}.log"
        env = {"CARPOOL_CONFIG_DIR": str(self.config_dir), "CARPOOL_RUN_DIR": str(self.run_dir)}
        env |= {"CARPOOL_STATE_DIR": str(self.state_dir), "CARPOOL_ROOT": str(self.directory)}
        orders = log.with_suffix(".orders")
        first, self.first_stop = self.first_stop, None
        orders.write_bytes((b"!" + first.order if first else b"").ljust(ORDERS_BYTES, b"\0"))
        order = {
            "namespace": self.namespace.name,
            "disks": {str(path): options for path, options in self.disks.items()},
            "env": env,
            "log": str(log),
            "clock_off_s": self.clock_off_s,
        }
        self.child = Child(born(order), log, orders)
        self.namespace.children.append(self.child)  # type: ignore[arg-type]
        return self.child

    def seen(self, path: Path) -> Path:
        """How a test sees what is on a small disk: the agent has mounts of its own."""
        return Path(f"/proc/{self.child.pid}/root", path.relative_to("/"))

    def wait_stopped(self) -> None:
        wait_until(lambda: self.child.stopped, 20, f"{self.name} stops")

    def go_on(self) -> None:
        self.child.send_signal(signal.SIGCONT)


def _obey(orders: Path) -> None:
    """Look at each event whether a test wants it to be the last one."""
    with orders.open("r+b") as file:
        shared = mmap.mmap(file.fileno(), ORDERS_BYTES)
    stop: list[Stop] = []

    def hook(name: str, arguments: tuple[object, ...]) -> None:
        if shared[0]:
            shared[0] = 0
            event, words, count = json.loads(shared[1 : shared.find(b"\n")])
            stop[:] = [Stop(event, words, count)]
        if stop and name == stop[0].event and stop[0].words in repr(arguments):
            last = stop.pop()
            if last.count > 1:
                stop.append(replace(last, count=last.count - 1))
            else:  # this very thread: it does not a step more
                signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)

    sys.addaudithook(hook)


def _set_clock(off_s: float) -> None:
    """As if somebody had set the clock of this machine: carpool reads it in one place."""
    read = vars(clock)
    time, real = read["time"], read["datetime"]
    shifted = {**vars(time), "time_ns": lambda: time.time_ns() + int(off_s * 1e9)}
    later = SimpleNamespace(now=lambda zone: real.now(zone) + timedelta(seconds=off_s))
    read.update(time=SimpleNamespace(**shifted), datetime=later)


def born(order: Mapping[str, object]) -> int:
    """The process number of a new agent."""
    nursery = _nursery()
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    nursery.stdin.write(json.dumps(order) + "\n")
    nursery.stdin.flush()
    return int(nursery.stdout.readline())


@cache
def _nursery() -> subprocess.Popen[str]:
    """One for all tests of this process; it ends with it, and its agents with it."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    line = [sys.executable, "-m", "tests.netns.nursery"]
    pipe = subprocess.PIPE
    made = subprocess.Popen(line, stdin=pipe, stdout=pipe, text=True, env=env)
    atexit.register(made.communicate)  # the end of its orders
    return made


def _live(order: dict[str, Any]) -> int:
    from carpool.cli.main import main

    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for number in (1, 2):
        os.dup2(log, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ |= order["env"]
    enter(order["namespace"])
    for disk, options in order["disks"].items():
        _mount(Path(disk), options)
    if order["clock_off_s"]:
        _set_clock(order["clock_off_s"])
    _obey(Path(order["log"]).with_suffix(".orders"))
    return main(["run", "agent"])


def _mount(disk: Path, options: str) -> None:
    """A small disk, of this process alone, with what is there already."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(CLONE_NEWNS) == 0, os.strerror(ctypes.get_errno())
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    with tempfile.TemporaryDirectory() as aside:
        shutil.copytree(disk, aside, dirs_exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=True)
        shutil.copytree(aside, disk, dirs_exist_ok=True)


def nurse() -> None:
    """Fork an agent for each line."""
    import_module("carpool.agent.server")
    import_module("carpool.cli.run")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # it ends with us
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os._exit(_live(json.loads(line)))
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    nurse()
