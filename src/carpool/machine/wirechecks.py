"""What can be wrong on the wires of VIPs: strangers who speak for ours, and peers who hear nothing.

Room: machine. Pure: what was heard is a fact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from carpool.machine.checkup import Check, Finding, unconfigured
from carpool.machine.facts import Facts
from carpool.model.config import (
    Address,
    AddressWithMask,
    Config,
    Family,
    MacMode,
    Transport,
    Vip,
    family_of,
)
from carpool.model.diagnosis import Diagnosis, Severity, Skipped
from carpool.model.facts import Heard, PeerFacts, Unseen
from carpool.proto.carp import Advert, Signer, parse
from carpool.proto.ipheader import group_of, mac_text, virtual_mac
from carpool.proto.routers import CARP, PROBE

MASTER = "MASTER"
LISTEN_ADVERTS = 2  # so many must fit into the time of listening before silence says anything


def vhid(facts: Facts) -> Iterator[Finding]:
    """Others who speak for a VHID of ours, or for another one."""
    if isinstance(facts.heard, Unseen):
        yield Skipped("vhid", facts.heard.why)
        return
    config = None if isinstance(facts.config, Unseen) else facts.config
    ours = {vip.key: vip for vip in config.group.vips} if config is not None else {}
    others: dict[str, dict[str, None]] = {}
    for one in facts.heard:
        if one.kind == PROBE or (config is not None and _is_node(one, facts, config)):
            continue
        vip = next((ours[key] for key in ours if key == (one.interface, one.vhid)), None)
        if vip is None:
            told = f"{one.vhid} ({one.kind} of {one.source})"
            others.setdefault(one.interface, {}).setdefault(told)
        elif not (one.kind == CARP and _signed(one, vip)):
            yield _clash(one, vip)
    for interface, found in others.items():
        yield Diagnosis(
            "vhid",
            Severity.NOTE,
            f"in use by others on {interface}: {', '.join([*found][:8])}",
            "CARP and VRRP share one range of virtual MAC addresses on a wire",
            "nothing is to be done; take no such number for a VIP there",
        )


def multicast(facts: Facts) -> Iterator[Finding]:
    """Whether this node and its peers hear each other where VIPs are."""
    yield from unconfigured("multicast", facts)
    if isinstance(facts.config, Unseen):
        return
    if not facts.config.node.peers:
        yield Skipped("multicast", "node.toml names no peer")
    for name, theirs in facts.peers_heard.items():
        peer = facts.peers.get(name, Unseen("it has told nothing of itself"))
        for unseen in (theirs, peer, facts.heard):
            if isinstance(unseen, Unseen):
                yield Skipped("multicast", unseen.why)
                break
        else:
            assert not isinstance(theirs, Unseen)
            assert not isinstance(peer, Unseen)
            yield from _both_ways(facts, facts.config, name, peer, theirs)


def _both_ways(
    facts: Facts, config: Config, name: str, peer: PeerFacts, theirs: tuple[Heard, ...]
) -> Iterator[Diagnosis]:
    assert not isinstance(facts.heard, Unseen)
    spoken = dict.fromkeys(
        (vip.interface, family)
        for vip in config.group.vips
        if vip.transport is Transport.MULTICAST
        for family in vip.families
    )
    for interface, family in spoken:
        ways = (
            (name, "this node", theirs, _own(facts, interface, family)),
            ("this node", name, facts.heard, _of_peer(peer, interface, family)),
        )
        for hearer, speaker, heard, sources in ways:
            probes = {one.source for one in heard if one.interface == interface}
            if sources and not probes & sources:
                yield _deaf(hearer, speaker, interface, family)
    for vip in config.group.vips:
        if _is_mute(facts, vip, theirs):
            yield _mute(name, vip)


def _deaf(hearer: str, speaker: str, interface: str, family: Family) -> Diagnosis:
    return Diagnosis(
        "multicast",
        Severity.ERROR,
        f"on {interface} {hearer} hears nothing that {speaker} sends to {group_of(family)}",
        "adverts go there: who does not hear them becomes MASTER, too",
        "on the switch or hypervisor: let multicast through to both ports (IGMP and MLD snooping "
        'off, or a querier on), same VLAN; or transport = "unicast" for these VIPs',
    )


def _is_mute(facts: Facts, vip: Vip, theirs: tuple[Heard, ...]) -> bool:
    """Whether a peer hears this node's probes and not its adverts, which have the virtual MAC."""
    if facts.roles.get(str(vip.key)) != MASTER or vip.mac is not MacMode.VIRTUAL:
        return False
    if facts.listened_s < LISTEN_ADVERTS * vip.advbase_s or vip.transport is Transport.UNICAST:
        return False
    own = _own(facts, vip.interface, None)
    here = [one for one in theirs if one.interface == vip.interface and one.source in own]
    probed = any(one.kind == PROBE for one in here)
    return probed and not any((one.kind, one.vhid) == (CARP, vip.vhid) for one in here)


def _mute(name: str, vip: Vip) -> Diagnosis:
    return Diagnosis(
        "multicast",
        Severity.ERROR,
        f"on {vip.interface} {name} hears this node, and none of its adverts for VHID {vip.vhid}, "
        f"which come from {mac_text(virtual_mac(vip.vhid))}",
        "something lets only the device's own MAC address pass: neither adverts nor the VIP do",
        "on the hypervisor: allow forged transmits and MAC address changes (port security off); or "
        'mac = "interface" for this VIP',
    )


def _clash(one: Heard, vip: Vip) -> Diagnosis:
    mac = mac_text(virtual_mac(one.vhid))
    if one.kind == CARP:
        found = "with another password or other addresses, and is no node of this group"
    else:
        found = f"(VRRP), whose virtual MAC {mac} is that of our VHID"
    return Diagnosis(
        "vhid",
        Severity.ERROR,
        f"{one.source} ({one.mac}) speaks on {one.interface} for VHID {one.vhid} {found}",
        f"switches send what is for {mac} now to it, now to us",
        f"another vhid for {vip.key} in group.toml, or over there",
    )


def _is_node(one: Heard, facts: Facts, config: Config) -> bool:
    """Whether a node of this group speaks."""
    known = {
        address
        for peer in config.node.peers
        for each in peer.addresses.values()
        for address in each
    }
    for peer in facts.peers.values():
        if isinstance(peer, PeerFacts):
            known |= _of_peer(peer, one.interface, None)
    return one.kind == CARP and one.source in known | _own(facts, one.interface, None)


def _signed(one: Heard, vip: Vip) -> bool:
    advert = parse(one.payload, one.hop_limit)
    addresses = [each.ip for each in vip.addresses]
    return isinstance(advert, Advert) and Signer(vip.vhid, vip.password, addresses).verify(advert)


def _own(facts: Facts, interface: str, family: Family | None) -> set[Address]:
    seen = facts.node.interfaces.get(interface)
    return _addresses(seen.addresses if seen is not None else (), family)


def _of_peer(peer: PeerFacts, interface: str, family: Family | None) -> set[Address]:
    seen = peer.node.interfaces.get(interface)
    return _addresses(seen.addresses if seen is not None else (), family)


def _addresses(found: Iterable[AddressWithMask], family: Family | None) -> set[Address]:
    """Those that adverts may come from, of a family: of IPv6, link-local ones. None: all."""
    return {
        one.ip
        for one in found
        if family is None
        or (family_of(one) is family and (family is Family.IPV4 or one.ip.is_link_local))
    }


CHECKS = (
    Check("vhid", "strangers who speak for a VHID", vhid),
    Check("multicast", "nodes hear each other where VIPs are", multicast),
)
NAMES = frozenset(check.name for check in CHECKS)
