"""The configuration of a node and its group, as frozen values.

Room: model. Knows neither TOML nor files nor the kernel: `api/settings.py` reads the files into
these, `model/validate.py` judges them, and every process is handed one `Config`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import NamedTuple

from carpool.model.damping import UNDAMPED, Damping
from carpool.model.detection import STANDARD, Detection
from carpool.model.scripts import Checks, Hooks
from carpool.model.section import Sync

Address = IPv4Address | IPv6Address
AddressWithMask = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

VHID_MIN, VHID_MAX = 1, 255
ADVBASE_MIN_S, ADVBASE_MAX_S = 1, 254
ADVSKEW_MIN, ADVSKEW_MAX = 0, 254  # in 1/256 s; 255 on the wire means "I am leaving"
PASSWORD_MAX_BYTES = 20  # CARP_KEY_LEN, FreeBSD sys/netinet/ip_carp.h
STATES_PORT = 3782
WEB_PORT = 8443
EXCLUSIONS_MAX = 32  # each is a handful of rules that new connections pass
PROTOCOLS = {  # by the names of /etc/protocols
    **{"icmp": 1, "tcp": 6, "udp": 17, "dccp": 33, "gre": 47, "esp": 50, "ah": 51, "icmpv6": 58},
    **{"ospf": 89, "sctp": 132, "udplite": 136},
}
PORT_PROTOCOLS = (6, 17, 33, 132, 136)  # those with ports


class Family(StrEnum):
    """An address family, by the name people use."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"


def family_of(address: Address | AddressWithMask) -> Family:
    return Family.IPV4 if address.version == 4 else Family.IPV6


class VhostKey(NamedTuple):
    """A VHID on a logical interface: what CARP calls a virtual host. Prints as `51@lan`."""

    interface: str
    vhid: int

    def __str__(self) -> str:
        return f"{self.vhid}@{self.interface}"


class MacMode(StrEnum):
    """Whose MAC address answers for a VIP."""

    VIRTUAL = "virtual"  # 00:00:5e:00:01:VHID on a macvlan: neighbours keep their ARP entry
    INTERFACE = "interface"  # the device's own: for hypervisors and clouds that forbid others


class Transport(StrEnum):
    """Where advertisements go."""

    MULTICAST = "multicast"  # 224.0.0.18 and ff02::12
    UNICAST = "unicast"  # to every peer's own address on the interface (node.toml)


class Scope(StrEnum):
    """Which connections are replicated."""

    ASSURED = "assured"  # those that carried traffic both ways: two events each
    ALL = "all"


class Encryption(StrEnum):
    """How the streams between the states processes are protected."""

    TLS = "tls"  # TLS 1.3, both certificates pinned by `carpool init` and `carpool join`
    NONE = "none"  # for a cable that nobody else can reach


@dataclass(frozen=True, slots=True)
class Vip:
    """One `[[vip]]` of group.toml: a VHID on an interface and all its addresses."""

    interface: str
    vhid: int
    password: bytes  # 1..20 bytes
    addresses: tuple[AddressWithMask, ...]
    advbase_s: int = 1
    mac: MacMode = MacMode.VIRTUAL
    transport: Transport = Transport.MULTICAST

    @property
    def key(self) -> VhostKey:
        return VhostKey(self.interface, self.vhid)

    @property
    def families(self) -> tuple[Family, ...]:
        """The families that have an address here, IPv4 first."""
        present = {family_of(address) for address in self.addresses}
        return tuple(family for family in Family if family in present)


class Mark(NamedTuple):
    """Some bits of a connection's mark (ct mark): those of `mask` are as in `value`."""

    value: int
    mask: int


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Connections that stay on the node: those for which all that is given here holds."""

    interface: str = ""  # logical name: they come in or go out there
    network: Network | None = None  # one end is in it, before or after translation
    protocol: int | None = None
    port: int | None = None  # that the client asked for
    mark: Mark | None = None


@dataclass(frozen=True, slots=True)
class States:
    """`[states]` of group.toml; without it no connection state is replicated."""

    interface: str  # logical name of the link between the nodes
    port: int = STATES_PORT
    scope: Scope = Scope.ASSURED
    exclude: tuple[Exclusion, ...] = ()
    no_sync_mark: Mark | None = None  # rules set it on connections that stay on the node

    @property
    def exclusions(self) -> tuple[Exclusion, ...]:
        """All of them, those by the mark among them."""
        marked = () if self.no_sync_mark is None else (Exclusion(mark=self.no_sync_mark),)
        return self.exclude + marked

    encryption: Encryption = Encryption.TLS


@dataclass(frozen=True, slots=True)
class Web:
    """`[web]` of group.toml: where the pages are served; without it there are none."""

    interfaces: tuple[str, ...]  # logical names: at the node's own addresses there, and the VIPs
    port: int = WEB_PORT
    certificate: str = ""  # paths of PEM files on each node; both or none
    key: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """group.toml: identical on all nodes."""

    name: str
    vips: tuple[Vip, ...]
    preempt: bool = True
    states: States | None = None
    sync: Sync | None = None
    web: Web | None = None
    hooks: Hooks = field(default_factory=Hooks)
    checks: Checks = field(default_factory=Checks)
    damping: Damping = UNDAMPED
    detection: Detection = STANDARD


@dataclass(frozen=True, slots=True)
class Peer:
    """`[peer.NAME]` of node.toml: another node and its own addresses by logical interface."""

    name: str
    addresses: Mapping[str, tuple[Address, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Node:
    """node.toml: what differs between nodes; never synchronised."""

    name: str
    interfaces: Mapping[str, str]  # logical name -> device
    advskew: int = 0  # 1/256 s, 0..254; the lower one is master
    addresses: Mapping[str, tuple[Address, ...]] = field(default_factory=dict)  # our own
    peers: tuple[Peer, ...] = ()
    vars: Mapping[str, str] = field(default_factory=dict)  # `[vars]`: for templates
    # `[services] command`: acts on services in place of systemd, with {action} and {service}
    service_command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a process of this node is configured with."""

    node: Node
    group: Group

    def device(self, interface: str) -> str:
        """The device behind a logical interface name; KeyError if validation was skipped."""
        return self.node.interfaces[interface]

    def vip_interfaces(self) -> tuple[str, ...]:
        """Logical interfaces that carry a VIP, in the order of the file."""
        return tuple(dict.fromkeys(vip.interface for vip in self.group.vips))


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What the kernel says about a device; `present` is false when there is none."""

    device: str
    present: bool
    addresses: tuple[AddressWithMask, ...] = ()  # permanent ones; no VIP that carpool added
    up: bool = False
    carrier: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a configuration file, told so that a person can mend it."""

    file: str  # "node.toml" or "group.toml", as the reader opened it
    key: str  # dotted path: `vip[0].vhid`
    found: str
    expected: str
    hint: str = ""
    line: int | None = None  # 1-based; filled in by the reader
    fatal: bool = True  # False: a process may start all the same (a device that may yet appear)

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        text = f"{where}: {self.key}: found {self.found}, expected {self.expected}"
        return f"{text} ({self.hint})" if self.hint else text
