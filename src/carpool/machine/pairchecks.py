"""What can be wrong between this node and its peers: what is to be equal and is not.

Room: machine. Pure. Rests on what the peers' agents tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from carpool.machine.checkup import Check, Finding, unconfigured
from carpool.machine.facts import Facts
from carpool.model.config import AddressWithMask, Config
from carpool.model.diagnosis import Diagnosis, Setting, Severity, Skipped
from carpool.model.facts import InterfaceFacts, PeerFacts, Unseen

CLOCK_OFF_MAX_S = 1.0  # NTP keeps milliseconds
RAISE_MAX = 4  # times ours, unasked: each entry takes memory, and a peer's word is a peer's
CONNTRACK_MAX = "net/netfilter/nf_conntrack_max"
MASTER = "MASTER"

Compare = Callable[[Facts, Config, str, PeerFacts], Iterator[Diagnosis]]


def _check(check: str, about: str, compare: Compare) -> Check:
    """A check that compares this node with each peer that has told of itself."""

    def judge(facts: Facts) -> Iterator[Finding]:
        yield from unconfigured(check, facts)
        if isinstance(facts.config, Unseen):
            return
        if not facts.config.node.peers:
            yield Skipped(check, "node.toml names no peer")
        for name, peer in facts.peers.items():
            if isinstance(peer, Unseen):
                yield Skipped(check, peer.why)
            else:
                yield from compare(facts, facts.config, name, peer)

    return Check(check, about, judge)


def versions(facts: Facts, config: Config, name: str, peer: PeerFacts) -> Iterator[Diagnosis]:
    """One version of carpool on all nodes."""
    if peer.node.version != facts.node.version:
        yield Diagnosis(
            "versions",
            Severity.WARNING,
            f"{name} runs carpool {peer.node.version}, this node {facts.node.version}",
            "each judges configuration and states by its own version's rules",
            "install the same version on all nodes, the backup first",
        )


def clock(facts: Facts, config: Config, name: str, peer: PeerFacts) -> Iterator[Diagnosis]:
    """One time on all nodes."""
    if abs(peer.clock_off_s) - peer.clock_error_s > CLOCK_OFF_MAX_S:
        way = "ahead of" if peer.clock_off_s > 0 else "behind"
        yield Diagnosis(
            "clock",
            Severity.WARNING,
            f"the clock of {name} is {abs(peer.clock_off_s):.1f} s {way} this node's",
            "failover does not depend on it, but logs cannot be put in order, and schedules "
            "and certificates of services go by it",
            "have both keep time by NTP: `timedatectl set-ntp true`, then `timedatectl "
            "timesync-status`",
        )


def interfaces(facts: Facts, config: Config, name: str, peer: PeerFacts) -> Iterator[Diagnosis]:
    """What has a VIP here must work there."""
    for interface in _used(config):
        trouble = _trouble(interface, peer.node.interfaces.get(interface))
        if trouble:
            yield Diagnosis(
                "peer-interfaces",
                Severity.ERROR,
                f"{name}: {trouble}",
                "it cannot take over what needs that interface, and is demoted for all",
                f"on {name}: node.toml, `ip link`, and the cable",
            )


def masks(facts: Facts, config: Config, name: str, peer: PeerFacts) -> Iterator[Diagnosis]:
    """The same networks on both ends of a wire."""
    for interface in _used(config):
        ours, theirs = _both(interface, facts, peer)
        for own in ours:
            other = _other_mask(own, theirs)
            if other is not None:
                yield Diagnosis(
                    "masks",
                    Severity.WARNING,
                    f"{interface}: this node has {own}, {name} has {other}: unequal masks",
                    "after a failover another part of the addresses counts as near, and the "
                    "rest becomes unreachable",
                    f"give both the mask of the network on {interface}",
                )


def mtu(facts: Facts, config: Config, name: str, peer: PeerFacts) -> Iterator[Diagnosis]:
    """The same size of packets on both ends."""
    for interface, own in facts.node.interfaces.items():
        other = peer.node.interfaces.get(interface)
        if other is not None and other.mtu != own.mtu and other.present and own.present:
            lower = min(own.mtu, other.mtu)
            device = own.device if own.mtu > lower else other.device
            where = "here" if own.mtu > lower else f"on {name}"
            yield Diagnosis(
                "mtu",
                Severity.WARNING,
                f"{interface}: MTU {own.mtu} here, {other.mtu} on {name}",
                "packets that are fine on one node are lost on the other: connections hang "
                "after a failover, large ones first",
                f"the same on both: raise the lower one, or {where} "
                f"`ip link set {device} mtu {lower}`",
            )


def conntrack_max(facts: Facts, config: Config, name: str, peer: PeerFacts) -> Iterator[Diagnosis]:
    """Room for the same number of connections."""
    own, other = facts.node.conntrack_max, peer.node.conntrack_max
    if own is None or other is None or own == other:
        return
    lower_here = own != 0 and (other == 0 or own < other)  # 0: no limit
    where = "here" if lower_here else f"on {name}"
    value = other if lower_here else own
    yield Diagnosis(
        "conntrack-max",
        Severity.WARNING,
        f"nf_conntrack_max is {own} here, {other} on {name}",
        "the smaller table cannot take all connections of the larger one: those that do not "
        "fit end at a failover",
        f"{where}: sysctl {CONNTRACK_MAX}={value}",
        (Setting(CONNTRACK_MAX, value),) if lower_here and 0 < value <= RAISE_MAX * own else (),
    )


def two_masters(facts: Facts, config: Config, name: str, peer: PeerFacts) -> Iterator[Diagnosis]:
    """One MASTER for each VIP."""
    both = [vip for vip, role in facts.roles.items() if role == peer.roles.get(vip) == MASTER]
    if both:
        yield Diagnosis(
            "two-masters",
            Severity.ERROR,
            f"this node and {name} are both MASTER of {', '.join(both)}",
            "both answer for the same addresses: connections land on one and on the other",
            "the checks multicast, carp-rules and vhid tell why they do not hear each other; "
            "`carpool events` tells since when",
        )


def _used(config: Config) -> list[str]:
    """Logical interfaces that the group needs."""
    more = (one.interface for one in (config.group.states, config.group.sync) if one is not None)
    return list(dict.fromkeys([*config.vip_interfaces(), *more]))


def _trouble(interface: str, facts: InterfaceFacts | None) -> str:
    if facts is None:
        return f"its node.toml names no interface {interface}"
    if not facts.present:
        return f"{interface} is to be {facts.device}, and there is no such device"
    if not facts.up:
        return f"{interface} ({facts.device}) is set down"
    return "" if facts.carrier else f"{interface} ({facts.device}) has no carrier"


def _both(
    interface: str, facts: Facts, peer: PeerFacts
) -> tuple[tuple[AddressWithMask, ...], tuple[AddressWithMask, ...]]:
    """Own addresses of both nodes."""
    ours, theirs = facts.node.interfaces.get(interface), peer.node.interfaces.get(interface)
    return (ours.addresses if ours else ()), (theirs.addresses if theirs else ())


def _other_mask(
    own: AddressWithMask, theirs: tuple[AddressWithMask, ...]
) -> AddressWithMask | None:
    """An address of the same network by one mask and not by the other; None if one fits."""
    same = [one for one in theirs if one.version == own.version and not one.ip.is_link_local]
    near = [one for one in same if one.ip in own.network or own.ip in one.network]
    if own.ip.is_link_local or any(one.network == own.network for one in near):
        return None
    return near[0] if near else None


CHECKS = (
    _check("versions", "versions of carpool", versions),
    _check("clock", "clocks of the nodes", clock),
    _check("peer-interfaces", "interfaces of the peers", interfaces),
    _check("masks", "masks on both ends", masks),
    _check("mtu", "MTU on both ends", mtu),
    _check("conntrack-max", "size of the connection tables", conntrack_max),
    _check("two-masters", "one MASTER for each VIP", two_masters),
)
NAMES = frozenset(check.name for check in CHECKS)
