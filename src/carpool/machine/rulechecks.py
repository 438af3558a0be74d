"""What can be wrong with the firewall's rules: NAT that dies in a failover, and rules in the way.

Room: machine. Pure. What a rule does with a packet, `rulewalk.py` knows; a finding rests only on
what is sure.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from carpool.machine.checkup import Check, Finding, unconfigured, vip_devices
from carpool.machine.facts import Facts
from carpool.machine.pathchecks import links_of, ways
from carpool.machine.rulewalk import Fit, Hit, Packet, blocker, hits_of
from carpool.model.config import Address, Config, Transport, family_of
from carpool.model.diagnosis import Diagnosis, Severity, Skipped
from carpool.model.facts import Unseen
from carpool.proto import ownrules
from carpool.proto.carp import PROTOCOL
from carpool.proto.ipheader import group_of
from carpool.proto.nftjson import Chain, Rule, Tables

TCP = 6


def _seen(check: str, facts: Facts) -> Iterator[Skipped]:
    """Why a check of the rules cannot be made."""
    yield from unconfigured(check, facts)
    if isinstance(facts.tables, Unseen) and not isinstance(facts.config, Unseen):
        yield Skipped(check, facts.tables.why)


# ---------------------------------------------------------------------------------------- NAT


def nat_own_address(facts: Facts) -> Iterator[Finding]:
    """Source NAT to an address that stays with this node."""
    yield from _seen("nat-own-address", facts)
    if isinstance(facts.config, Unseen) or isinstance(facts.tables, Unseen):
        return
    told: set[str] = set()
    for device, own, vip in _exits(facts, facts.config):
        for hit in _translations(facts.tables, Packet(own.version, exit=device)):
            target = _target(hit)
            if hit.rule.place in told or not (hit.verdict == "masquerade" or target == own):
                continue
            told.add(hit.rule.place)
            did = f"{hit.verdict} to {own}" if target else "masquerade"
            yield Diagnosis(
                "nat-own-address",
                Severity.WARNING,
                f"{hit.rule.place}: {did} leaves {device} as {own}, this node's own address",
                "the connection's answers come to this node alone: it ends when a peer takes over",
                f"write `fib saddr type != local snat to {vip}` in place of it: the VIP moves with "
                "the connections, and what the node itself sends stays its own",
            )


def nat_any_source(facts: Facts) -> Iterator[Finding]:
    """Source NAT to a VIP that catches what the node itself sends."""
    yield from _seen("nat-any-source", facts)
    if isinstance(facts.config, Unseen) or isinstance(facts.tables, Unseen):
        return
    vips = {one.ip for vip in facts.config.group.vips for one in vip.addresses}
    told: set[str] = set()
    for device, own, _vip in _exits(facts, facts.config):
        for hit in _translations(facts.tables, Packet(own.version, own, entry="", exit=device)):
            if hit.rule.place in told or _target(hit) not in vips:
                continue
            told.add(hit.rule.place)
            yield Diagnosis(
                "nat-any-source",
                Severity.WARNING,
                f"{hit.rule.place}: what this node itself sends by {device} leaves as "
                f"{_target(hit)}, a VIP",
                "on a backup the answers go to the MASTER: no updates, no NTP, no DNS there",
                "begin the rule with `fib saddr type != local`, or with the networks behind this "
                "firewall as `saddr`",
            )


def _exits(facts: Facts, config: Config) -> Iterator[tuple[str, Address, Address]]:
    """Device, own address and VIP, of each family on each interface with VIPs."""
    for interface, device in vip_devices(config).items():
        vips = [
            one.ip
            for vip in config.group.vips
            if vip.interface == interface
            for one in vip.addresses
            if not one.ip.is_link_local
        ]
        seen = facts.node.interfaces.get(interface)
        for own in seen.addresses if seen is not None else ():
            same = [vip for vip in vips if vip.version == own.version]
            if same and not own.ip.is_link_local:
                yield device, own.ip, same[0]


def _translations(tables: Tables, packet: Packet) -> Iterator[Hit]:
    """Source NAT that this packet surely gets, or some of those meant by it."""
    families = ("inet", "ip" if packet.version == 4 else "ip6")
    for chain in tables.hooked("postrouting", families, "nat"):
        for hit in hits_of(tables, chain, packet):
            if hit.fit >= Fit.SOME and hit.verdict in ("snat", "masquerade"):
                yield hit


def _target(hit: Hit) -> Address | None:
    """The address of `snat to ADDRESS`; None for anything else (a range, a map)."""
    body = hit.body if isinstance(hit.body, dict) else {}
    try:
        return ip_address(str(body.get("addr", "")))
    except ValueError:
        return None


# -------------------------------------------------------------------------------- in the way


def sync_rules(facts: Facts) -> Iterator[Finding]:
    """Rules that keep peers from the ports of states and agent, or us from theirs."""
    yield from _seen("sync-rules", facts)
    if isinstance(facts.config, Unseen) or isinstance(facts.tables, Unseen):
        return
    blocked: dict[tuple[str, str, str, str, Address], list[int]] = {}
    for link in links_of(facts.config):
        device, (*_, own, peer, port) = facts.config.device(link.interface), link
        go, come = ways(facts.config, link)
        for connects, hook, packet in (
            (come, "input", Packet(own.version, peer, own, TCP, port, entry=device)),
            (go, "output", Packet(own.version, own, peer, TCP, port, entry="", exit=device)),
        ):
            found = blocker(facts.tables, hook, packet) if connects else None
            if found is not None:
                chain = found.chain if isinstance(found, Rule) else found.name
                way = (f"{found.family} {found.table} {chain}", hook, device, _told(found), peer)
                blocked.setdefault(way, []).append(port)
    for (chain, hook, device, place, peer), ports in blocked.items():
        listed = ", ".join(map(str, sorted({*ports})))
        ip = "ip" if peer.version == 4 else "ip6"
        came = hook == "input"
        towards = f"iifname {device} {ip} saddr" if came else f"oifname {device} {ip} daddr"
        yield Diagnosis(
            "sync-rules",
            Severity.ERROR,
            f"{place} drops TCP port {listed} {'from' if came else 'to'} {peer} on {device}",
            "over it the nodes replicate states and synchronise the configuration",
            f"nft insert rule {chain} {towards} {peer} tcp dport {{ {listed} }} accept; and write "
            "it where your rules are",
        )


def web_rules(facts: Facts) -> Iterator[Finding]:
    """Rules that keep everybody from the pages."""
    yield from _seen("web-rules", facts)
    if isinstance(facts.config, Unseen) or isinstance(facts.tables, Unseen):
        return
    web = facts.config.group.web
    told: set[str] = set()
    for interface in web.interfaces if web is not None else ():
        device, port = facts.config.device(interface), web.port if web is not None else 0
        for version in _versions(facts, facts.config, interface):
            packet = Packet(version, protocol=TCP, port=port, entry=device)
            found = blocker(facts.tables, "input", packet)
            if found is None or (place := f"{_told(found)} {device}") in told:
                continue
            told.add(place)
            chain = found.chain if isinstance(found, Rule) else found.name
            yield Diagnosis(
                "web-rules",
                Severity.WARNING,
                f"{_told(found)} drops TCP port {port} on {device}, whoever it is from",
                "[web] of group.toml serves the pages there",
                f"nft insert rule {found.family} {found.table} {chain} iifname {device} "
                f"tcp dport {port} accept; and write it where your rules are",
            )


def _versions(facts: Facts, config: Config, interface: str) -> list[int]:
    """Of IP, that the pages have an address of there."""
    seen = facts.node.interfaces.get(interface)
    own = [one.ip for one in seen.addresses] if seen is not None else []
    vips = (vip.addresses for vip in config.group.vips if vip.interface == interface)
    every = [*own, *(one.ip for each in vips for one in each)]
    return sorted({one.version for one in every if not one.is_link_local})


def carp_rules(facts: Facts) -> Iterator[Finding]:
    """Rules that drop adverts on their way out. On the way in none sees them (decision 20)."""
    yield from _seen("carp-rules", facts)
    if isinstance(facts.config, Unseen) or isinstance(facts.tables, Unseen):
        return
    for device, own, target in _adverts(facts, facts.config):
        packet = Packet(own.version, own, target, PROTOCOL, entry="", exit=device)
        found = blocker(_netdev(facts.tables), "egress", packet)
        if found is not None:
            yield Diagnosis(
                "carp-rules",
                Severity.ERROR,
                f"{_told(found)} drops CARP adverts (protocol 112) that leave by {device}",
                "the other nodes hear nothing of this one: two masters",
                "let them pass there: `meta l4proto 112 accept`, before the rule that drops them",
            )
            return


def own_rules(facts: Facts) -> Iterator[Finding]:
    """Our own table, which keeps strangers out, is loaded, and made of these files."""
    yield from _seen("own-rules", facts)
    if isinstance(facts.config, Unseen) or isinstance(facts.tables, Unseen):
        return
    chain = facts.tables.chains.get((ownrules.FAMILY, ownrules.TABLE, "input"))
    why = "strangers may come to the ports of carpool (they are refused there: they have no key)"
    load = "systemctl reload-or-restart carpool-rules; without systemd: carpool rules --load"
    if chain is None:
        found = f"table {ownrules.FAMILY} {ownrules.TABLE} is not loaded"
        yield Diagnosis("own-rules", Severity.NOTE, found, why, load)
    elif ownrules.mark(facts.config) not in {rule.comment for rule in chain.rules}:
        found = f"table {ownrules.FAMILY} {ownrules.TABLE} was made of other files"
        why = "it may keep out who is a peer now"
        yield Diagnosis("own-rules", Severity.WARNING, found, why, load)


def flowtable(facts: Facts) -> Iterator[Finding]:
    """Connections that the kernel forwards beside the rules."""
    yield from _seen("flowtable", facts)
    if isinstance(facts.config, Unseen) or isinstance(facts.tables, Unseen):
        return
    if facts.tables.flowtables and facts.config.group.states is not None:
        yield Diagnosis(
            "flowtable",
            Severity.NOTE,
            f"connections are offloaded to flowtable {', '.join(facts.tables.flowtables)}",
            "while one is offloaded the kernel tells nothing of it: a peer learns of its beginning "
            "and its end only, and forwards it by its rules until it is offloaded there",
            "let `ct state established,related accept` stand before `flow add` on every node, and "
            "try it: `carpool switchover` under traffic",
        )


def _adverts(facts: Facts, config: Config) -> Iterator[tuple[str, Address, Address]]:
    """Device, source and target of adverts."""
    for vip in config.group.vips:
        seen = facts.node.interfaces.get(vip.interface)
        for own in seen.addresses if seen is not None else ():
            if family_of(own) not in vip.families:
                continue
            targets = [group_of(family_of(own))]
            if vip.transport is Transport.UNICAST:
                peers = (peer.addresses.get(vip.interface, ()) for peer in config.node.peers)
                targets = [one for each in peers for one in each if one.version == own.version]
            for target in targets:
                yield config.device(vip.interface), own.ip, target


def _netdev(tables: Tables) -> Tables:
    """Those chains alone, without ours (`netdev carpool`)."""
    chains = tables.chains.items()
    return Tables(
        {key: one for key, one in chains if one.family == "netdev" and one.table != "carpool"}
    )


def _told(found: Rule | Chain) -> str:
    return found.place if isinstance(found, Rule) else f"the policy of {found.place}"


CHECKS = (
    Check("nat-own-address", "source NAT to addresses that stay", nat_own_address),
    Check("nat-any-source", "source NAT of what the node itself sends", nat_any_source),
    Check("sync-rules", "rules let the nodes talk to each other", sync_rules),
    Check("web-rules", "rules let somebody to the pages", web_rules),
    Check("own-rules", "strangers are kept from carpool", own_rules),
    Check("carp-rules", "rules let adverts out", carp_rules),
    Check("flowtable", "connections that are offloaded", flowtable),
)
