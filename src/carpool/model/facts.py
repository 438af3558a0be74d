"""What is known of a machine and its peers when `carpool doctor` judges them.

Room: model. Values only: `kernel/` looks, peers tell theirs, `machine/` judges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from carpool.model.config import Address, AddressWithMask


@dataclass(frozen=True, slots=True)
class Unseen:
    """In place of facts: why there are none."""

    why: str


@dataclass(frozen=True, slots=True)
class InterfaceFacts:
    """The device behind a logical interface; without one, `present` is false."""

    device: str
    present: bool = False
    up: bool = False
    carrier: bool = False
    mtu: int = 0  # bytes of an IP packet
    addresses: tuple[AddressWithMask, ...] = ()  # its own, no VIP


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a node tells its peers, too."""

    version: str  # of carpool
    kernel: str  # as `uname -r`
    interfaces: Mapping[str, InterfaceFacts] = field(default_factory=dict)  # by logical name
    conntrack_max: int | None = None  # None: connection tracking is not loaded
    conntrack_count: int | None = None


@dataclass(frozen=True, slots=True)
class PeerFacts:
    """What a peer tells of itself, and how its clock stands to ours."""

    node: NodeFacts
    clock_off_s: float = 0.0  # seconds that it is ahead of this node
    clock_error_s: float = 0.0  # so much of them may be the time that asking took
    roles: Mapping[str, str] = field(default_factory=dict)  # by VIP (`51@lan`)


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that waits for whoever asks."""

    protocol: str  # tcp, udp
    address: Address
    port: int
    process: str = ""  # its command; "": nobody knows


@dataclass(frozen=True, slots=True)
class Certificate:
    """One that a stream between nodes rests on."""

    path: str
    begins_s: float  # seconds since 1970
    ends_s: float


class Link(NamedTuple):
    """A connection between two nodes that carpool makes."""

    peer: str
    process: str  # that listens over there
    interface: str
    source: Address
    target: Address
    port: int


@dataclass(frozen=True, slots=True)
class Heard:
    """Somebody speaks on a wire."""

    interface: str  # logical name
    source: Address
    mac: str  # that the frame came from
    kind: str  # CARP, VRRP, or probe: of another doctor
    vhid: int = 0  # or VRRP's number of a virtual router
    hop_limit: int = field(default=255, compare=False)
    payload: bytes = field(default=b"", compare=False)  # of one of these packets


@dataclass(frozen=True, slots=True)
class Device:
    """A network device of a machine that is not configured yet."""

    name: str
    up: bool = False
    carrier: bool = False
    addresses: tuple[AddressWithMask, ...] = ()  # its own, no VIP
    gateways: tuple[Address, ...] = ()  # that default routes by it lead to
    default: bool = False  # whether there is such a route, with a gateway or without
