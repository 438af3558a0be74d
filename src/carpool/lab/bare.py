"""A firewall of the lab as processes: a network namespace, a directory, and `carpool run`.

Room: lab. Started in a second and easy to look into; keeps a record of what it started, so that any
later command finds it. Refuses to know drills.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from carpool.errors import CarpoolError
from carpool.kernel.clock import monotonic_s, sleep_s
from carpool.lab import processes, shell
from carpool.lab.firewall import AGENT, ROLES, WEB, Firewall, group_toml, node_toml
from carpool.lab.pages import Pages
from carpool.lab.processes import Tracked
from carpool.lab.topology import Network

FINE_POLL_S = 0.001


class BareFirewall(Firewall):
    """Its network is made and configured from outside, its rules with it."""

    def __init__(self, name: str, network: Network, root: Path, port: int = 0) -> None:
        super().__init__(name, network, root, Pages(root / "web", port))
        self.wrapper: tuple[str, ...] = ()  # a command that becomes carpool's processes
        self._record = root / "processes.json"
        self._processes: list[Tracked] = self._read_record()

    @property
    def files(self) -> Path:
        """What its agent takes for the root of the file system."""
        return self.root / "root"

    @property
    def run_dir(self) -> Path:
        return self.root / "run"

    @property
    def state_dir(self) -> Path:
        return self.root / "state"

    def log(self, role: str) -> Path:
        return self.pages.log if role == WEB else self.root / f"{role}.log"

    def last_words(self, role: str) -> str:
        try:
            lines = self.log(role).read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            lines = []
        return lines[-1] if lines else "it said nothing"

    def carpool(self, *arguments: str) -> list[str]:
        places = ("--config-dir", self.config_dir, "--run-dir", self.run_dir)
        options = [str(word) for word in (*places, "--state-dir", self.state_dir)]
        return [sys.executable, "-m", "carpool", *options, *arguments]

    def inside(self, argv: Sequence[str]) -> list[str]:
        return shell.inside(self.namespace, argv)

    def troubles(self) -> list[str]:
        return []

    # ------------------------------------------------------------------------------- power

    def prepare(self) -> None:
        """Make the directories and write both configuration files."""
        for directory in (self.config_dir, self.run_dir, self.state_dir, self.files / "etc"):
            directory.mkdir(parents=True, exist_ok=True)
        (self.config_dir / "node.toml").write_text(
            node_toml(self.name, self.network.firewalls), encoding="utf-8"
        )
        group = self.config_dir / "group.toml"
        group.write_text(group_toml(self.network.name), encoding="utf-8")
        group.chmod(0o600)  # it holds passwords

    def start(self, roles: Sequence[str]) -> Iterator[str]:
        """Remembers each at once."""
        for role in roles:
            if self.tracked(role) is None:
                process = self._web() if role == WEB else self._process(role)
                self._processes.append(process)
                self._write_record()
                yield f"{self.name}: started `carpool run {role}`, pid {process.pid}"

    def _process(self, role: str) -> Tracked:
        words = ("--root", str(self.files)) if role == AGENT else ()
        argv = [*self.wrapper, *self.carpool("run", role, *words)]
        return processes.start(self.namespace, self.name, role, argv, self.log(role))

    def _web(self) -> Tracked:
        """As root, because the agent's socket is root's alone."""
        with self.pages.listener() as listener:
            argv = self.carpool("--state-dir", str(self.pages.directory), "run", WEB)
            return processes.start(self.namespace, self.name, WEB, argv, self.log(WEB), listener)

    def only(self, roles: Sequence[str]) -> None:
        processes.end([process for process in self._running() if process.role not in roles])

    def cut_power(self) -> None:
        processes.send(self._running(), signal.SIGKILL)

    def reboot(self) -> None:
        """/run is empty then, configuration and state directory stay."""
        if not processes.wait_gone(self._running(), processes.END_WAIT_S):
            raise CarpoolError(f"the processes of {self.name} do not end, not even by SIGKILL")
        self.network.reboot_firewall(self.name)
        shutil.rmtree(self.run_dir, ignore_errors=True)
        self.run_dir.mkdir()

    def remove(self) -> int:
        running = self._running()
        processes.end(running)
        self._processes = []
        return len(running)

    # ---------------------------------------------------------------------------- mischief

    def end(self) -> float:
        at_s = monotonic_s()
        processes.send(self._running(), signal.SIGTERM)
        return at_s

    def power_off(self, wait_s: float) -> float:
        failover = self.tracked("failover")
        at_s = self.end()
        while failover is not None and failover.alive and monotonic_s() < at_s + wait_s:
            sleep_s(FINE_POLL_S)
        return at_s

    def kill_worker(self) -> float:
        pid = int(self.ask("failover", "status")["pid"])
        at_s = monotonic_s()
        os.kill(pid, signal.SIGKILL)
        return at_s

    def kill_all(self) -> float:
        return self._tell_all(signal.SIGKILL)

    def pause_all(self) -> float:
        return self._tell_all(signal.SIGSTOP)

    def resume_all(self) -> float:
        return self._tell_all(signal.SIGCONT)

    def _tell_all(self, number: signal.Signals) -> float:
        at_s = monotonic_s()
        processes.send(self._running(), number)
        return at_s

    # -------------------------------------------------------------------------- its record

    def tracked(self, role: str) -> Tracked | None:
        return next((process for process in self._running() if process.role == role), None)

    def ended(self, role: str) -> bool:
        return self.tracked(role) is None

    def _running(self) -> list[Tracked]:
        """Forgets those that have died. Failover first: it is what time is counted for."""
        self._processes = [process for process in self._processes if process.alive]
        order = (*ROLES, AGENT, WEB)
        return sorted(self._processes, key=lambda process: order.index(process.role))

    def _read_record(self) -> list[Tracked]:
        try:
            content = json.loads(self._record.read_text(encoding="utf-8"))
            return [Tracked(**entry) for entry in content]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError) as error:
            raise CarpoolError(
                f"{self._record} is not a record of processes: {error}",
                hint=f"end the processes below {self.root} by hand, then remove that directory",
            ) from error

    def _write_record(self) -> None:
        fresh = self._record.with_suffix(".new")
        content = [asdict(process) for process in self._processes]
        fresh.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        fresh.replace(self._record)
