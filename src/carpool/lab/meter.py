"""Live figures of the lab's nodes for the demo: roles, states, throughput.

Room: lab. Reads what the nodes tell and what the kernel counts in their namespaces; shows nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from carpool.errors import CarpoolError
from carpool.lab import shell
from carpool.lab.firewall import Answer, Firewall
from carpool.lab.topology import LAN

COUNT_FILE = "/proc/sys/net/netfilter/nf_conntrack_count"


@dataclass(frozen=True, slots=True)
class Figures:
    """One node at one moment. `None` where nobody answers."""

    powered: bool
    status: Answer | None = None  # of the failover process
    replication: str | None = None  # one phrase of the states process
    states: int | None = None  # entries of the kernel's connection table
    bytes_per_s: float = 0.0  # in and out of the LAN interface


@dataclass(slots=True)
class Meter:
    """Asks one firewall, and turns its counters into rates."""

    firewall: Firewall
    _last: tuple[float, int] | None = field(default=None)  # time and LAN bytes

    def read(self, now_s: float, powered: bool) -> Figures:
        if not powered:
            self._last = None
            return Figures(powered=False)
        states, octets = self._kernel()
        rate = 0.0
        if octets is not None:
            if self._last is not None and now_s > self._last[0] and octets >= self._last[1]:
                rate = (octets - self._last[1]) / (now_s - self._last[0])
            self._last = (now_s, octets)
        return Figures(
            powered=True,
            status=self._ask("failover"),
            replication=replication(self._ask("states")),
            states=states,
            bytes_per_s=rate,
        )

    def _ask(self, role: str) -> Answer | None:
        try:
            return self.firewall.ask(role, "status")
        except CarpoolError:
            return None

    def _kernel(self) -> tuple[int | None, int | None]:
        """Entries in the connection table, and bytes through the LAN interface."""
        argv = shell.inside(self.firewall.namespace, ["cat", COUNT_FILE, "/proc/net/dev"])
        try:
            lines = shell.run(argv).splitlines()
        except CarpoolError:
            return None, None
        return int(lines[0]), lan_bytes(lines[1:])


def lan_bytes(net_dev: list[str]) -> int | None:
    """Received and sent bytes of the LAN interface, from /proc/net/dev (proc_net(5))."""
    for line in net_dev:
        name, _, counters = line.partition(":")
        if name.strip() == LAN.device:
            fields = counters.split()
            return int(fields[0]) + int(fields[8])
    return None


def replication(status: Answer | None) -> str | None:
    """What the states process says of its peer, in a phrase."""
    if status is None:
        return None
    peer = status["peers"][0]
    return f"{peer['name']}, table {peer['bulk']}" if peer["connected"] else f"no {peer['name']}"
