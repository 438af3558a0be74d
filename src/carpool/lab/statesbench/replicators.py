"""What is compared: carpool's states process and each mode of conntrackd, on both firewalls.

Room: lab. Starts, stops and asks them as an operator would; refuses to know what is measured. All
files are below the lab's directory, so that `lab down` finds what a killed bench has left.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from carpool.errors import CarpoolError, KernelError
from carpool.kernel.clock import monotonic_s, sleep_s
from carpool.lab import cost, processes, shell
from carpool.lab.firewall import ROLES
from carpool.lab.lab import Lab
from carpool.lab.processes import Tracked
from carpool.lab.statesbench.table import Table
from carpool.lab.topology import FIREWALLS, SYNC, other

START_WAIT_S = 20.0
STOP_WAIT_S = 20.0
POLL_S = 0.02
CONNTRACKD_PORT = 3780
_CACHE = re.compile(r"cache external:\n(?:current )?active connections:\s+(\d+)")


class Replicator(Protocol):
    """Keeps the backup's copy of the master's connections."""

    @property
    def name(self) -> str: ...

    @property
    def direct(self) -> bool:
        """Whether states go straight into the backup's kernel."""

    def start(self) -> None:
        """Until both are ready."""

    def stop(self) -> None: ...

    def cpu_s(self) -> float:
        """User and system, both nodes, since they were started."""

    def memory_mb(self, node: str) -> float:
        """Proportional share (PSS)."""

    def present(self) -> int:
        """States that the backup has, wherever this one keeps them."""


@dataclass(slots=True)
class Carpool:
    """`carpool run states`, scope "assured" or "all"."""

    lab: Lab
    backup: Table
    scope: str = "assured"
    name: str = "carpool"
    direct: bool = True

    def start(self) -> None:
        for firewall in self.lab.firewalls.values():
            firewall.prepare()
            with (firewall.config_dir / "group.toml").open("a", encoding="utf-8") as group:
                group.write(f'scope = "{self.scope}"\n')
        self.lab.roles = ROLES
        for node in FIREWALLS:
            self.lab.start_missing(node)
        self.lab.wait_healthy()

    def stop(self) -> None:
        self.lab.run_only("failover")

    def cpu_s(self) -> float:
        return sum(cost.cpu_s(pid) for node in FIREWALLS for pid in self._pids(node))

    def memory_mb(self, node: str) -> float:
        return sum(cost.memory_kb(pid, "Pss") for pid in self._pids(node)) / 1000

    def present(self) -> int:
        return self.backup.count()

    def counters(self, node: str) -> dict[str, int]:
        """What the process has counted since its start."""
        counters: dict[str, int] = self.lab.firewalls[node].ask("states", "status")["counters"]
        return counters

    def _pids(self, node: str) -> list[int]:
        tracked = self.lab.tracked(node, "states")
        if tracked is None:
            last = self.lab.firewalls[node].last_words("states")
            raise CarpoolError(f"`carpool run states` on {node} ended: {last}")
        return cost.family(tracked.pid)


@dataclass(slots=True)
class Conntrackd:
    """One mode of conntrackd; its caches are options of the mode. Buffers are large enough."""

    lab: Lab
    backup: Table
    name: str
    mode: str  # FTFW or NOTRACK
    options: tuple[str, ...] = ()
    _running: dict[str, Tracked] = field(default_factory=dict)

    @property
    def direct(self) -> bool:
        return any(option.startswith("DisableExternalCache") for option in self.options)

    def start(self) -> None:
        for node in FIREWALLS:
            directory = self._directory(node)
            directory.mkdir(parents=True, exist_ok=True)
            for left in ("lock", "control"):
                (directory / left).unlink(missing_ok=True)
            (directory / "conntrackd.conf").write_text(self._config(node), encoding="utf-8")
            argv = ["conntrackd", "-C", str(directory / "conntrackd.conf")]
            namespace, log = self.lab.network.namespace(node), directory / "output"
            self._running[node] = processes.start(namespace, node, "conntrackd", argv, log)
        for node in FIREWALLS:
            self._wait_ready(node)

    def stop(self) -> None:
        processes.end(list(self._running.values()), STOP_WAIT_S)
        self._running.clear()

    def cpu_s(self) -> float:
        return sum(cost.cpu_s(tracked.pid) for tracked in self._running.values())

    def memory_mb(self, node: str) -> float:
        return cost.memory_kb(self._running[node].pid, "Pss") / 1000

    def present(self) -> int:
        if self.direct:
            return self.backup.count()
        found = _CACHE.search(self.ask(FIREWALLS[1], "-s"))
        return int(found[1]) if found else 0

    def ask(self, node: str, *words: str) -> str:
        """One command to the running daemon. KernelError with its words if it refuses."""
        config = str(self._directory(node) / "conntrackd.conf")
        argv = ["conntrackd", "-C", config, *words]
        return shell.run(shell.inside(self.lab.network.namespace(node), argv))

    def _wait_ready(self, node: str) -> None:
        deadline_s = monotonic_s() + START_WAIT_S
        while True:
            try:
                self.ask(node, "-s")
                return
            except KernelError as error:
                if monotonic_s() > deadline_s or not self._running[node].alive:
                    raise CarpoolError(f"conntrackd on {node} does not start: {error}") from error
            sleep_s(POLL_S)

    def _directory(self, node: str) -> Path:
        return self.lab.root / node / "conntrackd"

    def _config(self, node: str) -> str:
        directory, own, peer = self._directory(node), _sync(node), _sync(other(node))
        options = "\n".join(f"    {option}" for option in self.options)
        return f"""\
Sync {{
  Mode {self.mode} {{
{options}
  }}
  UDP {{
    IPv4_address {own}
    IPv4_Destination_Address {peer}
    Port {CONNTRACKD_PORT}
    Interface {SYNC.device}
    SndSocketBuffer 33554432
    RcvSocketBuffer 33554432
    Checksum on
  }}
}}
General {{
  Systemd no
  HashSize 1048576
  HashLimit 4194304
  LogFile {directory}/log
  Syslog off
  LockFile {directory}/lock
  UNIX {{
    Path {directory}/control
  }}
  NetlinkBufferSize 67108864
  NetlinkBufferSizeMaxGrowth 268435456
  Filter From Userspace {{
    Protocol Accept {{
      TCP
      UDP
    }}
    Address Ignore {{
      IPv4_address 127.0.0.1
      IPv4_address {own}
      IPv4_address {peer}
    }}
  }}
}}
"""


def _sync(node: str) -> str:
    return str(SYNC.own(node)[0].ip)


_DIRECT = "DisableExternalCache yes"
MODES = {
    "FTFW": ("FTFW", ()),
    "FTFW direct": ("FTFW", (_DIRECT,)),
    "NOTRACK": ("NOTRACK", ()),
    "NOTRACK direct": ("NOTRACK", (_DIRECT,)),
    "NOTRACK no caches": ("NOTRACK", ("DisableInternalCache yes", _DIRECT)),
}


def conntrackds(lab: Lab, backup: Table) -> list[Conntrackd]:
    """Every mode that the issue of speed is measured against."""
    return [
        Conntrackd(lab, backup, f"conntrackd {name}", mode, options)
        for name, (mode, options) in MODES.items()
    ]
