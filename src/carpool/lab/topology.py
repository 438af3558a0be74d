"""The lab's network: who is connected to whom, and how it is built, cut, mended and removed.

Room: lab. Knows namespaces, links and addresses; no process and no carpool. All virtual cables are
made inside the lab's namespaces, so the host's own interfaces, routes and rules are never touched.

    client ── lan bridge ──┬── fw1 ──┬── wan bridge ── server
                           │    │    │
                           │  sync   │        the three bridges stand in the namespace `switch`
                           │    │    │
                           └── fw2 ──┘
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from carpool.errors import CarpoolError
from carpool.lab import rules, shell

DEFAULT_NAME = "carpool"
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
FIREWALLS = ("fw1", "fw2")
THIRD = "fw3"  # only where it is asked for
TRIO = (*FIREWALLS, THIRD)
NODES = ("client", "switch", *FIREWALLS, "server", THIRD)
HOST_NUMBER = 10  # client and server: .10 on their segment


@dataclass(frozen=True, slots=True)
class Segment:
    """One bridge. Host numbers end the address in both families, with the same digits."""

    name: str
    number: int  # 10.10.NUMBER.0/24 and fd00:10:NUMBER::/64
    vhid: int | None = None
    vip_number: int = 0
    host: str | None = None  # the node at the far end: client or server

    @property
    def device(self) -> str:
        """What the cable is called inside the node: lan0, wan0, sync0."""
        return f"{self.name}0"

    def ipv4(self, number: int) -> IPv4Interface:
        return IPv4Interface(f"10.10.{self.number}.{number}/24")

    def ipv6(self, number: int) -> IPv6Interface:
        return IPv6Interface(f"fd00:10:{self.number}::{number}/64")

    def addresses(self, number: int) -> tuple[IPv4Interface, IPv6Interface]:
        return self.ipv4(number), self.ipv6(number)

    def own(self, firewall: str) -> tuple[IPv4Interface, IPv6Interface]:
        """A firewall's own addresses here: .2 for fw1, .3 for fw2, .4 for fw3."""
        return self.addresses(2 + TRIO.index(firewall))

    def vip(self) -> tuple[IPv4Interface, IPv6Interface]:
        return self.addresses(self.vip_number)

    def mac(self, node: str) -> str:
        """The address of a node's network card: it survives a reboot, as in real life."""
        return f"02:ca:00:00:{self.number:02x}:{NODES.index(node):02x}"

    def port(self, node: str) -> str:
        """The bridge's end of a node's cable: lan-fw1."""
        return f"{self.name}-{node}"


LAN = Segment("lan", number=1, vhid=51, vip_number=1, host="client")
WAN = Segment("wan", number=2, vhid=52, vip_number=100, host="server")
SYNC = Segment("sync", number=3)
SEGMENTS = (LAN, WAN, SYNC)
VIP_SEGMENTS = (LAN, WAN)
SERVER_IPV4 = WAN.ipv4(HOST_NUMBER).ip
SERVER_IPV6 = WAN.ipv6(HOST_NUMBER).ip


def other(firewall: str) -> str:
    """The other firewall of the pair."""
    return FIREWALLS[1 - FIREWALLS.index(firewall)]


def check_name(name: str) -> str:
    """A lab's name, or CarpoolError: it becomes part of namespace and directory names."""
    if not NAME_PATTERN.fullmatch(name):
        raise CarpoolError(
            f"found lab name {name!r}, expected 1 to 32 of a-z, 0-9 and '-', not '-' first",
            hint="choose another --name",
        )
    return name


@dataclass(frozen=True, slots=True)
class Network:
    """The namespaces of one lab, and what can be done to their cables."""

    name: str = DEFAULT_NAME
    machines: bool = False  # firewalls that boot: they get cables, and configure themselves
    third: bool = False  # there is a third firewall

    @property
    def firewalls(self) -> tuple[str, ...]:
        """In the order of preference."""
        return TRIO if self.third else FIREWALLS

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(node for node in NODES if self.third or node != THIRD)

    def namespace(self, node: str) -> str:
        return f"{self.name}-{node}"

    def existing(self) -> tuple[str, ...]:
        """Those of the lab's namespaces that exist now."""
        names = (self.namespace(node) for node in NODES)
        return tuple(name for name in names if shell.namespace_exists(name))

    # ------------------------------------------------------------------------- building

    def build(self) -> Iterator[str]:
        """Build everything; yields, in words, what it does next. KernelError when refused."""
        yield "namespaces " + ", ".join(self.namespace(node) for node in self.nodes)
        for node in self.nodes:
            self._add_namespace(node)
        self._build_switch()
        for segment in VIP_SEGMENTS:
            self._build_host(segment)
        for firewall in self.firewalls:
            yield f"{firewall}: lan0, wan0, sync0, strict stateful rules, NAT to the WAN VIP"
            self._build_firewall(firewall)

    def reboot_firewall(self, firewall: str) -> None:
        """A power cycle: links, addresses, rules and connection table go and come back empty.

        The caller has ended every process in it.
        """
        ports = [f"link del {segment.port(firewall)}" for segment in SEGMENTS]
        shell.ip_batch(self.namespace("switch"), ports)  # at once; with the namespace it is later
        shell.run(["ip", "netns", "del", self.namespace(firewall)])
        self._add_namespace(firewall)
        self._build_firewall(firewall)

    def remove(self) -> tuple[str, ...]:
        """Remove what exists, in whatever state it is; gives the names of what was removed."""
        removed = self.existing()
        for namespace in removed:
            shell.run(["ip", "netns", "del", namespace])
        return removed

    def _add_namespace(self, node: str) -> None:
        shell.run(["ip", "netns", "add", self.namespace(node)])
        shell.ip(self.namespace(node), "link", "set", "lo", "up")

    def _build_switch(self) -> None:
        # No snooping: without a querier it forgets groups after minutes (a trap with its own test).
        kind = "type bridge stp_state 0 mcast_snooping 0 forward_delay 0"
        lines = [f"link add {segment.name} {kind}" for segment in SEGMENTS]
        lines += [f"link set {segment.name} up" for segment in SEGMENTS]
        shell.ip_batch(self.namespace("switch"), lines)

    def _build_host(self, segment: Segment) -> None:
        assert segment.host is not None
        self._cable(segment, segment.host)
        device = segment.device
        lines = [
            f"addr add {segment.ipv4(HOST_NUMBER)} dev {device}",
            f"addr add {segment.ipv6(HOST_NUMBER)} dev {device} nodad",
            f"link set {device} up",
        ]
        ipv4, ipv6 = segment.vip()
        if segment is LAN:
            lines += [f"route add default via {ipv4.ip}", f"-6 route add default via {ipv6.ip}"]
        else:  # IPv4 arrives translated to the VIP; IPv6 is not translated and needs a way back
            lines.append(f"-6 route add {LAN.ipv6(0).network} via {ipv6.ip}")
        for line in lines:
            shell.ip(self.namespace(segment.host), *line.split())

    def _build_firewall(self, firewall: str) -> None:
        """Rules first, then cables: no packet passes a firewall that has no rules yet."""
        if self.machines:
            for segment in SEGMENTS:
                self._cable(segment, firewall)
            return
        namespace = self.namespace(firewall)
        shell.nft(namespace, rules.firewall_rules(LAN, WAN, SYNC))
        shell.sysctl(namespace, rules.FIREWALL_SYSCTLS)
        lines: list[str] = []
        for segment in SEGMENTS:
            self._cable(segment, firewall)
            lines += [f"addr add {own} dev {segment.device}" for own in segment.own(firewall)]
            lines.append(f"link set {segment.device} up")
        shell.ip_batch(namespace, lines)

    def _cable(self, segment: Segment, node: str) -> None:
        """A cable from a node to the segment's bridge; both ends are born inside namespaces."""
        switch, port = self.namespace("switch"), segment.port(node)
        far_end = f"name {segment.device} address {segment.mac(node)} netns {self.namespace(node)}"
        shell.ip_batch(
            switch,
            [
                f"link add {port} type veth peer {far_end}",
                f"link set {port} master {segment.name} up",
            ],
        )

    # ---------------------------------------------------------------------------- losses

    def lose(self, ruleset: str) -> None:
        """Have the switch drop what a ruleset of `losses.py` says, and no more what another did."""
        shell.nft(self.namespace("switch"), ruleset)

    # --------------------------------------------------------------------------- cables

    def cut_commands(self, firewall: str, segments: tuple[Segment, ...] = SEGMENTS) -> str:
        """What to feed to `ip -n SWITCH -batch -` so that a firewall loses carrier on segments."""
        return "".join(f"link set {segment.port(firewall)} down\n" for segment in segments)

    def is_cut(self, firewall: str) -> bool:
        """Whether none of its cables is plugged in."""
        switch = self.namespace("switch")
        shown = shell.run(["ip", "-n", switch, "-oneline", "link", "show", "up"])
        return not any(f" {segment.port(firewall)}@" in shown for segment in SEGMENTS)

    def mend(self, firewall: str) -> None:
        """Plug all cables of a firewall in again; harmless when they are."""
        lines = [f"link set {segment.port(firewall)} up" for segment in SEGMENTS]
        shell.ip_batch(self.namespace("switch"), lines)
