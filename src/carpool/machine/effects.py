"""What the failover engine is told (inputs) and what it asks for (effects): its whole vocabulary.

Room: machine. Values only. Effects are performed in the order in which they are returned:
a take-over reads TakeAddresses, Announce, SendAdvert, so that the old master lets go only after
the new one answers; a give-up starts with ReleaseAddresses.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from carpool.model.config import Address, Config, Family, VhostKey


class State(StrEnum):
    """The state of a virtual host (carp(4))."""

    INIT = "INIT"
    BACKUP = "BACKUP"
    MASTER = "MASTER"
    DISABLED = "DISABLED"


# ---------------------------------------------------------------------------------- inputs


@dataclass(frozen=True, slots=True)
class PacketReceived:
    """An IP packet of protocol 112; nothing in it has been checked."""

    interface: str  # logical name
    source: Address
    hop_limit: int
    payload: bytes  # all that follows the IP header


@dataclass(frozen=True, slots=True)
class InterfaceChanged:
    """A VIP interface became usable (up, carrier, own address) or stopped being so."""

    interface: str
    ready: bool
    reason: str  # "up", "no carrier", "set down", "no IPv4 address", "device is gone"
    own_addresses: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class SendResult:
    """An advertisement or a probe left the node, or could not. Tell the engine of each one."""

    interface: str
    error: str | None  # None: sent


@dataclass(frozen=True, slots=True)
class AddressResult:
    """The kernel did (error is None) or did not do a TakeAddresses or HoldAddresses."""

    key: VhostKey
    error: str | None


class Verdict(StrEnum):
    """What a peer's silence on a link means, by what is heard of it elsewhere (detect.py)."""

    DEAD = "dead"  # silent on two paths at once, and heard on none
    LINK = "link"  # alive elsewhere, and says that a link of its is down
    WELL = "well"  # alive elsewhere
    RESET = "reset"  # it stood still for too long, gave everything up, and says so
    ALONE = "alone"  # heard nowhere, but no second path fell silent with this one


@dataclass(frozen=True, slots=True)
class Detected:
    """BFD with a peer was up on a link, and fell silent."""

    peer: str
    interface: str
    verdict: Verdict
    alive_s: float  # an advert that came later than this proves that it lives
    text: str  # for people


@dataclass(frozen=True, slots=True)
class SetMaintenance:
    """`carpool maintenance on|off`; the service keeps both over a restart. `reason`: for people."""

    on: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SetDisabled:
    """`carpool disable|enable`; until restart."""

    on: bool


@dataclass(frozen=True, slots=True)
class SetBulkSync:
    """The states process takes its table from a peer (on), or is done (off). Holds preemption:
    ignored while this node is MASTER of anything."""

    on: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FailingCheck:
    """A check of the operator's, as the agent tells of it."""

    name: str
    weight: int  # 1..240, added to advskew
    text: str = ""  # what it said last


@dataclass(frozen=True, slots=True)
class SetChecks:
    """The checks that fail, all of them; forgotten after `lease_s` unless they are said again."""

    failing: tuple[FailingCheck, ...]
    lease_s: float


@dataclass(frozen=True, slots=True)
class Undamp:
    """`carpool undamp`: moves that were are forgotten, and nothing waits for a delay."""


@dataclass(frozen=True, slots=True)
class Switchover:
    """`carpool switchover`: give the mastership away once. Answered by SwitchoverDone."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """At start: an earlier process of this node died owning the addresses of these VHIDs, and the
    kernel still has them. Hand them to a peer, or keep them when nobody takes them."""

    keys: frozenset[VhostKey]


@dataclass(frozen=True, slots=True)
class Resumed:
    """The whole machine was suspended for so long, its network cards too: silence says nothing."""

    slept_s: float


@dataclass(frozen=True, slots=True)
class TakeUp:
    """Another configuration of this node and its group, judged before: go by it from now on, and by
    the one before, too, until Settle."""

    config: Config


@dataclass(frozen=True, slots=True)
class Settle:
    """Every node has the configuration that this one goes by: what was before counts no more."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Leave gracefully. Answered by Stopped, within LEAVE_WAIT_S."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The deadline has come (early and spurious ticks do no harm)."""


Input = (
    PacketReceived
    | InterfaceChanged
    | SendResult
    | AddressResult
    | Detected
    | SetMaintenance
    | SetDisabled
    | SetBulkSync
    | SetChecks
    | Undamp
    | Switchover
    | Adopt
    | Resumed
    | TakeUp
    | Settle
    | Stop
    | Tick
)

# --------------------------------------------------------------------------------- effects


@dataclass(frozen=True, slots=True)
class SendAdvert:
    """Send these 36 bytes to the VHID's group or unicast peers, hop limit 255."""

    key: VhostKey
    family: Family
    payload: bytes


@dataclass(frozen=True, slots=True)
class SendProbe:
    """Send a harmless frame (an ARP probe) to learn whether sending works again."""

    interface: str


@dataclass(frozen=True, slots=True)
class TakeAddresses:
    """Own all addresses of the VHID, in one step, for ADDRESS_LIFETIME_S."""

    key: VhostKey


@dataclass(frozen=True, slots=True)
class HoldAddresses:
    """Extend the lifetime of the addresses to ADDRESS_LIFETIME_S from now."""

    key: VhostKey


@dataclass(frozen=True, slots=True)
class ReleaseAddresses:
    """Stop owning the addresses of the VHID, in one step. Harmless when not owned."""

    key: VhostKey


@dataclass(frozen=True, slots=True)
class Announce:
    """Gratuitous ARP and unsolicited neighbour advertisements for every address of the VHID."""

    key: VhostKey


@dataclass(frozen=True, slots=True)
class Transition:
    """A virtual host changed its state, and why: for log, events and hooks."""

    key: VhostKey
    old: State
    new: State
    reason: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth an operator's eye that is no transition. `kind` is a short stable word:
    demotion, check, conflict, mismatch, reject, switchover, stall, bulk, group, damping, bfd."""

    kind: str
    text: str
    key: VhostKey | None = None


@dataclass(frozen=True, slots=True)
class SwitchoverDone:
    """The end of a Switchover: who took over (an address) after how long, or why nobody did."""

    ok: bool
    took_s: float
    text: str


@dataclass(frozen=True, slots=True)
class TellReset:
    """Say to all peers, by BFD, that this node stood still and gave everything up."""


@dataclass(frozen=True, slots=True)
class Reconfigure:
    """Make hands fit the virtual hosts that the engine has by now: sockets, devices, addresses.
    What is owned stays so, without a break; InterfaceChanged tells anew what all links are like."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """Everything is released; the process may end."""


Effect = (
    SendAdvert
    | SendProbe
    | TakeAddresses
    | HoldAddresses
    | ReleaseAddresses
    | Announce
    | Transition
    | Note
    | SwitchoverDone
    | TellReset
    | Reconfigure
    | Stopped
)
