"""The stage: a lab whose firewalls fail over, with loads ready to run and nothing replicating yet.

Room: lab. The same network, rules and failover processes for every replicator that is put on it.
Refuses to know what is measured.

Flow targets are in 10.10.128.0/17, routed to the server: it has all of those addresses, answers TCP
and drops the UDP of the loads before its own stack sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from carpool.errors import CarpoolError
from carpool.kernel.clock import monotonic_s, sleep_s
from carpool.lab import shell
from carpool.lab.channel import Report
from carpool.lab.lab import Lab
from carpool.lab.statesbench import limits
from carpool.lab.statesbench.replicators import CONNTRACKD_PORT
from carpool.lab.statesbench.table import Table
from carpool.lab.statesbench.tools import Tools
from carpool.lab.topology import FIREWALLS, HOST_NUMBER, LAN, SERVER_IPV4, SYNC, WAN

TARGETS = "10.10.128.0/17"
FIRST_TARGET = "10.10.128.1"
TCP_TARGETS = 256  # so many times the client's ports
ABREAST = 128  # connections that are opening at a time
MASTER, BACKUP = FIREWALLS
FLOOD_PRIORITY = 60  # of the load that nobody can slow down; above conntrackd's children, below 99
POLL_S = 0.02
_SYSCTLS = {
    "net.netfilter.nf_conntrack_udp_timeout": 600,  # no state ends while it is being counted
    "net.netfilter.nf_conntrack_udp_timeout_stream": 600,
}
_TIME_WAIT = "net.netfilter.nf_conntrack_tcp_timeout_time_wait"
TIME_WAIT_S = 120  # the kernel's default
_SERVER_RULES = f"""
table netdev loads {{
  chain ingress {{
    type filter hook ingress device "{WAN.device}" priority 0;
    ip daddr {TARGETS} udp dport {{ 7000, 7777 }} drop
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Stage:
    lab: Lab
    tools: Tools
    master: Table
    backup: Table

    def namespace(self, node: str) -> str:
        return self.lab.network.namespace(node)

    def say(self, text: str) -> None:
        self.lab.say(text)

    # ------------------------------------------------------------------------------- tables

    def clear(self) -> None:
        """Both tables empty. Only while nobody listens who would have to replicate that."""
        for table in (self.master, self.backup):
            table.flush()

    def end_closed_after(self, seconds: int) -> None:
        """How long the master keeps a TCP connection that was closed."""
        shell.sysctl(self.namespace(MASTER), {_TIME_WAIT: seconds})

    def fill(self, node: str, count: int, first: int = 0) -> Report:
        """Established TCP connections with source NAT, as fast as the kernel takes them."""
        found = self.tools.run(
            self.namespace(node),
            "insert",
            *(LAN.ipv4(HOST_NUMBER).ip, FIRST_TARGET, WAN.vip()[0].ip, first, count, 256),
        )
        if found["errors"]:
            raise CarpoolError(f"{found['errors']} of {count} entries were refused on {node}")
        return found

    # -------------------------------------------------------------------------------- loads

    def connections(self, count: int, rate: float = 0) -> Report:
        """TCP connections of a whole life; `rate` a second, 0: as many as go."""
        with self.tools.running(self.namespace("server"), "connections", "serve"):
            found = self.tools.run(
                self.namespace("client"),
                *("connections", "open", FIRST_TARGET, TCP_TARGETS, count, ABREAST, rate),
            )
        if found["failed"]:
            raise CarpoolError(f"{found['failed']} of {count} connections failed")
        return found

    def flows(self, count: int, rate: float = 0, priority: int = 0) -> Report:
        """One-way UDP flows of one packet."""
        source = LAN.ipv4(HOST_NUMBER).ip
        return self.tools.run(
            self.namespace("client"),
            *("flows", LAN.device, self.gateway(), source, FIRST_TARGET, 0, count, rate, priority),
        )

    def latencies_us(self, count: int, rate: float) -> list[float]:
        """From the first packet of a flow to its entry on the backup; one for each that came."""
        arguments = (self.namespace(BACKUP), FIRST_TARGET, 20_000, count, rate)
        found = self.tools.run(self.namespace("client"), "latency", *arguments)
        latencies: list[float] = found["microseconds"]
        return latencies

    def gateway(self) -> str:
        """The MAC address that the client has for its gateway."""
        namespace, vip = self.namespace("client"), str(LAN.vip()[0].ip)
        shell.run(shell.inside(namespace, ["ping", "-q", "-c1", "-W2", str(SERVER_IPV4)]))
        words = shell.ip(namespace, "neigh", "show", vip).split()
        if "lladdr" not in words:
            raise CarpoolError(f"the client does not know its gateway {vip}: {' '.join(words)}")
        return words[words.index("lladdr") + 1]


@contextmanager
def built(lab: Lab) -> Iterator[Stage]:
    """The stage, and nothing of it left afterwards."""
    with limits.raised(), lab.held():
        lab.down()
        try:
            lab.up()
            lab.run_only("failover")
            tools = Tools(lab.root)
            tools.build()
            yield _furnished(lab, tools)
        finally:
            lab.down()


def _furnished(lab: Lab, tools: Tools) -> Stage:
    network = lab.network
    for node in FIREWALLS:
        namespace = network.namespace(node)
        shell.sysctl(namespace, _SYSCTLS)
        shell.ip(namespace, "route", "add", TARGETS, "via", str(SERVER_IPV4), "dev", WAN.device)
        accept = f"iifname {SYNC.device} udp dport {CONNTRACKD_PORT} accept"
        shell.nft(namespace, f"add rule inet filter input {accept}\n")
    server, client = network.namespace("server"), network.namespace("client")
    shell.ip(server, "route", "add", "local", TARGETS, "dev", "lo")
    shell.nft(server, _SERVER_RULES)
    ports = ["sysctl", "-qw", "net.ipv4.ip_local_port_range=1024 65535"]
    shell.run(shell.inside(client, ports))
    backlog = {"net.core.somaxconn": 4096, "net.ipv4.tcp_max_syn_backlog": 8192}
    shell.sysctl(server, backlog)
    master, backup = (Table(network.namespace(node)) for node in FIREWALLS)
    return Stage(lab, tools, master, backup)


def wait_until(true: Callable[[], bool], seconds: float, every_s: float = POLL_S) -> float | None:
    """Wait for it; how long that took, None if it did not come true in time."""
    begun_s = monotonic_s()
    while not true():
        if monotonic_s() - begun_s > seconds:
            return None
        sleep_s(every_s)
    return monotonic_s() - begun_s
