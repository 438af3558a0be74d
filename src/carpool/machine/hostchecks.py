"""What can be wrong with one machine by itself: its files and its kernel's settings.

Room: machine. Pure. Refuses to know how a setting is read or written.
"""

from __future__ import annotations

from collections.abc import Iterator

from carpool.machine.checkup import Check, Finding, unconfigured, vip_devices
from carpool.machine.facts import Facts
from carpool.model.config import Config, Family, MacMode
from carpool.model.diagnosis import Diagnosis, Setting, Severity
from carpool.model.facts import Unseen

ALL_RP_FILTER = "net/ipv4/conf/all/rp_filter"
FORWARD = {Family.IPV4: "net/ipv4/ip_forward", Family.IPV6: "net/ipv6/conf/all/forwarding"}
EVENTS = "net/netfilter/nf_conntrack_events"
STRICT, LOOSE = 1, 2  # of rp_filter; of `all` and the device, the greater value counts

# What is set for all devices counts for ours, too, and breaks ARP for VIPs (decision 21).
_ARP = {
    "net/ipv4/conf/all/arp_ignore": (1, "does not answer ARP for a VIP"),
    "net/ipv4/conf/all/arp_filter": (0, "answers ARP for a VIP by another device, or not at all"),
    "net/ipv4/conf/all/proxy_arp": (0, "answers ARP for a VIP that a peer holds"),
}


def settings_of(config: Config | Unseen) -> list[str]:
    """The keys of all settings that are judged here."""
    keys = [ALL_RP_FILTER, EVENTS, *FORWARD.values(), *_ARP]
    if not isinstance(config, Unseen):
        keys += [rp_filter_key(device) for device in vip_devices(config).values()]
    return keys


def rp_filter_key(device: str) -> str:
    """Of one device."""
    return f"net/ipv4/conf/{device}/rp_filter"


def configuration(facts: Facts) -> Iterator[Finding]:
    """Both files, by themselves and on this machine, as `carpool check` judges them."""
    if isinstance(facts.config, Unseen) and not facts.problems:
        yield Diagnosis(
            "configuration",
            Severity.NOTE,
            facts.config.why,
            "only the machine itself can be looked at",
            "write node.toml(5) and group.toml(5), then `carpool check`",
        )
    for fatal, severity in ((True, Severity.ERROR), (False, Severity.WARNING)):
        found = [one for one in facts.problems if one.fatal is fatal]
        if not found:
            continue
        first = f"{found[0].file}, {found[0].key}: found {found[0].found}"
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        yield Diagnosis(
            "configuration",
            severity,
            first + more,
            f"expected {found[0].expected}" + ("; no process starts with it" if fatal else ""),
            "`carpool check` shows each with its line, and what to do",
        )


def forwarding(facts: Facts) -> Iterator[Finding]:
    """A node whose VIPs are gateways must forward."""
    yield from unconfigured("forwarding", facts)
    if isinstance(facts.config, Unseen):
        return
    families = {family for vip in facts.config.group.vips for family in vip.families}
    for family in Family:
        key = FORWARD[family]
        if family in families and facts.settings.get(key) == 0:
            yield Diagnosis(
                "forwarding",
                Severity.WARNING,
                f"{key} is 0: this node forwards no {family.name.replace('IPV', 'IPv')}",
                "when it becomes MASTER, whoever uses a VIP as gateway gets no farther",
                f"load the firewall's rules first, then `sysctl {key}=1`, and write it to a file "
                "of /etc/sysctl.d",
            )


def rp_filter(facts: Facts) -> Iterator[Finding]:
    """Strict reverse-path filtering where VIPs are."""
    yield from unconfigured("rp-filter", facts)
    if isinstance(facts.config, Unseen):
        return
    for device in vip_devices(facts.config).values():
        key = rp_filter_key(device)
        values = facts.settings.get(ALL_RP_FILTER, 0), facts.settings.get(key, 0)
        if max(values) == STRICT:
            yield Diagnosis(
                "rp-filter",
                Severity.WARNING,
                f"{device} takes only packets whose way back leads out of it again (rp_filter=1)",
                "packets of a connection that moved here may come in by another way than this "
                "node would answer; they are dropped without a word",
                f"sysctl {key}={LOOSE}",
                (Setting(key, LOOSE),),
            )


def arp(facts: Facts) -> Iterator[Finding]:
    """Settings for all devices that get in the way of a virtual MAC."""
    yield from unconfigured("arp", facts)
    if isinstance(facts.config, Unseen):
        return
    virtual = [vip for vip in facts.config.group.vips if vip.mac is MacMode.VIRTUAL]
    if not any(Family.IPV4 in vip.families for vip in virtual):
        return
    for key, (most, effect) in _ARP.items():
        value = facts.settings.get(key, 0)
        if value > most:
            yield Diagnosis(
                "arp",
                Severity.ERROR,
                f"{key} is {value}, which counts for every device",
                f"this node {effect}, so neighbours do not find the MASTER",
                f"set it to {most}, and on the devices that need it by net/ipv4/conf/DEVICE: "
                f"sysctl {key}={most}",
            )


def conntrack_events(facts: Facts) -> Iterator[Finding]:
    """The table of the states process asks for events, whatever the setting; before that process
    runs, only the setting does."""
    yield from unconfigured("conntrack-events", facts)
    if isinstance(facts.config, Unseen) or facts.config.group.states is None:
        return
    if facts.settings.get(EVENTS) == 0:
        yield Diagnosis(
            "conntrack-events",
            Severity.NOTE,
            f"{EVENTS} is 0: connections that begin while `carpool run states` is down never tell "
            "of their end",
            "peers keep copies of them until the tables are compared again, some minutes later",
            f"sysctl {EVENTS}=1, unless you have set it to 0 for a reason",
        )


CHECKS = (
    Check("configuration", "node.toml and group.toml", configuration),
    Check("forwarding", "packets are forwarded", forwarding),
    Check("rp-filter", "reverse-path filter", rp_filter),
    Check("arp", "settings for all devices and ARP for VIPs", arp),
    Check("conntrack-events", "the kernel tells of the end of connections", conntrack_events),
)
