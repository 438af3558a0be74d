"""Agents that start in a tenth of a second, and stop dead where a test wants them to.

A nursery is a process in a firewall's namespace that has imported everything and forks: the child
is `carpool run agent` as it is. What it does to files, and what it starts, Python tells to audit
hooks; at the one that a test chose it stops (SIGSTOP), and the test kills it, cuts its link, or
lets it go on. No line of carpool knows of it.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from carpool.kernel import clock
from tests.netns.agents import AgentNode
from tests.netns.lab import Namespace, wait_until

ROOT = Path(__file__).parents[2]
ORDERS_BYTES = 4096
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Stop:
    """The `count`th event of this kind of which the arguments contain `words`."""

    event: str  # https://docs.python.org/3/library/audit_events.html
    words: str
    count: int = 1


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
        text = json.dumps([stop.event, stop.words, stop.count]).encode()
        with self._orders.open("r+b") as file:
            file.write(b"\0" + text + b"\n")
            file.flush()
            file.seek(0)
            file.write(b"!")

    def said(self) -> str:
        return self._log.read_text()

    @property
    def stopped(self) -> bool:
        return "\nState:\tT" in Path(f"/proc/{self.pid}/status").read_text()


class NurseryNode(AgentNode):
    """A firewall whose agents come from a nursery."""

    child: Child
    clock_off_s = 0.0  # of agents started from now on

    def __init__(
        self, namespace: Namespace, directory: Path, name: str, others: Sequence[str]
    ) -> None:
        super().__init__(namespace, directory, name, others)
        self._nursery: subprocess.Popen[str] | None = None
        self._count = 0

    def begin(self) -> Child:  # type: ignore[override]
        self._count += 1
        log = self.directory / f"agent-{self._count}.log"
        env = {"CARPOOL_CONFIG_DIR": str(self.config_dir), "CARPOOL_RUN_DIR": str(self.run_dir)}
        env |= {"CARPOOL_STATE_DIR": str(self.state_dir), "CARPOOL_ROOT": str(self.directory)}
        orders = log.with_suffix(".orders")
        orders.write_bytes(bytes(ORDERS_BYTES))
        order = {"env": env, "log": str(log), "clock_off_s": self.clock_off_s}
        self.child = Child(int(self._ask(order)), log, orders)
        return self.child

    def small_disk(self, path: Path, options: str) -> Path:
        """A disk there, which only its agents see; and the path by which a test does."""
        self._ask({"mount": str(path), "options": options})
        return self.seen(path)

    def seen(self, path: Path) -> Path:
        assert self._nursery is not None
        return Path(f"/proc/{self._nursery.pid}/root", path.relative_to("/"))

    def _ask(self, order: Mapping[str, object]) -> str:
        if self._nursery is None:
            path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
            line = [sys.executable, "-m", "tests.netns.nursery"]
            self._nursery = self.namespace.start(*line, env={"PYTHONPATH": path})
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.write(json.dumps(order) + "\n")
        self._nursery.stdin.flush()
        return self._nursery.stdout.readline()

    def wait_stopped(self) -> None:
        wait_until(lambda: self.child.stopped, 10, f"{self.name} stops")

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


def _live(order: dict[str, Any]) -> int:
    from carpool.cli.main import main

    os.environ |= order["env"]
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for number in (1, 2):
        os.dup2(log, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if order["clock_off_s"]:
        _set_clock(order["clock_off_s"])
    _obey(Path(order["log"]).with_suffix(".orders"))
    return main(["run", "agent"])


def nurse() -> None:
    """Fork an agent for each line, or mount a disk."""
    import_module("carpool.agent.server")
    import_module("carpool.cli.run")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        order = json.loads(line)
        if "mount" in order:  # `ip netns exec` has given us mounts of our own
            words = ["mount", "-t", "tmpfs", "-o", order["options"], "tmpfs", order["mount"]]
            subprocess.run(words, check=True)
            sys.stdout.write("\n")
            sys.stdout.flush()
            continue
        pid = os.fork()
        if pid == 0:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # it ends with us
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os._exit(_live(order))
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    nurse()
