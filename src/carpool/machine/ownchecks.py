"""What can be wrong with what this node runs and runs on: kernel, processes, services, keys.

Room: machine. Pure. The settings of the kernel are in `hostchecks.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

from carpool.machine.checkup import Check, Finding, unconfigured
from carpool.machine.facts import Facts
from carpool.machine.outdated import outdated, restart
from carpool.machine.surroundings import DAY_S, EXPIRES_SOON_S
from carpool.model.config import MacMode
from carpool.model.diagnosis import Diagnosis, Setting, Severity, Skipped
from carpool.model.facts import Unseen

NONLOCAL = {4: "net/ipv4/ip_nonlocal_bind", 6: "net/ipv6/ip_nonlocal_bind"}
SETTINGS = tuple(NONLOCAL.values())  # that are judged here
OURS = "carpool"  # what processes of ours are called
FULL = 0.8  # of the connection table


def kernel(facts: Facts) -> Iterator[Finding]:
    """What virtual MACs and replication need of the kernel and of nft."""
    if isinstance(facts.missing, Unseen):
        yield Skipped("kernel", facts.missing.why)
        return
    config = None if isinstance(facts.config, Unseen) else facts.config
    needless: set[str] = set()
    if config is not None:
        if all(vip.mac is MacMode.INTERFACE for vip in config.group.vips):
            needless |= {"macvlan", "nftables egress hook"}
        if config.group.states is None:
            needless.add("nftables ct event")
    missing = {name: said for name, said in facts.missing.items() if name not in needless}
    if missing:
        first, said = next(iter(missing.items()))
        yield Diagnosis(
            "kernel",
            Severity.ERROR,
            f"kernel {facts.node.kernel} refuses {', '.join(missing)}: {first}: {said}",
            "virtual MACs need macvlan and the egress hook (Linux 5.16), replication needs events "
            "by rule",
            'run this as root; if it persists: a newer kernel, or mac = "interface" for the VIPs',
        )


def processes(facts: Facts) -> Iterator[Finding]:
    """Those that the configuration asks for."""
    yield from unconfigured("processes", facts)
    if facts.silent and not isinstance(facts.config, Unseen):
        names = ", ".join(facts.silent)
        yield Diagnosis(
            "processes",
            Severity.WARNING,
            f"not running: {names} ({next(iter(facts.silent.values()))})",
            "this node takes over nothing without failover, and connections end without states",
            f"carpool run {next(iter(facts.silent))}",
        )
    master = "MASTER" in facts.roles.values()
    for name, version in outdated(facts.running, facts.node.version).items():
        yield Diagnosis(
            "processes",
            Severity.WARNING,
            f"{name} runs carpool {version}, {facts.node.version} is installed",
            "what was mended since is not mended here; an upgrade restarts no failover that is "
            "MASTER",
            restart(name, master=master),
        )
    for words in facts.refused:
        yield Diagnosis(
            "processes",
            Severity.WARNING,
            f"failover, refused by the kernel: {words}",
            "a peer that hears nothing of this node for three intervals takes over",
            "look what takes it from the unit that carpool brings: systemctl cat carpool-failover",
        )


def conntrack_table(facts: Facts) -> Iterator[Finding]:
    """How full the connection table is."""
    count, most = facts.node.conntrack_count, facts.node.conntrack_max
    if count is None or most is None:
        yield Skipped("conntrack-table", "connection tracking is not loaded on this machine")
    elif most and count > FULL * most:
        yield Diagnosis(
            "conntrack-table",
            Severity.WARNING,
            f"{count} of {most} connections (nf_conntrack_max) are in use",
            "when the table is full the kernel drops every new connection; a backup has the "
            "same ones in its own",
            f"sysctl net/netfilter/nf_conntrack_max={2 * most}, on every node",
        )


def bound_services(facts: Facts) -> Iterator[Finding]:
    """Services that listen on an address which moves away."""
    yield from unconfigured("bound-services", facts)
    if isinstance(facts.config, Unseen):
        return
    if isinstance(facts.listeners, Unseen):
        yield Skipped("bound-services", facts.listeners.why)
        return
    group = facts.config.group
    vips = {one.ip for vip in group.vips for one in vip.addresses}
    pages = ("tcp", group.web.port if group.web else 0, OURS)  # they need no setting
    for one in sorted(facts.listeners, key=lambda each: (each.process, each.port)):
        key = NONLOCAL[one.address.version]
        if (one.protocol, one.port, one.process) == pages:
            continue
        # Who listens on an address that is not here has found a way of its own (IP_FREEBIND).
        if one.address in vips & facts.present and not facts.settings.get(key):
            who = one.process or "a service"
            yield Diagnosis(
                "bound-services",
                Severity.WARNING,
                f"{who} listens on {one.address}, {one.protocol.upper()} port {one.port}: a VIP",
                "where this node is a backup the address is absent: started or restarted then, "
                "it fails",
                f"sysctl {key}=1",
                (Setting(key, 1),),
            )


def certificates(facts: Facts) -> Iterator[Finding]:
    """Dates of the certificates that nodes know each other by; those of carpool have no end."""
    if isinstance(facts.certificates, Unseen):
        yield Skipped("certificates", facts.certificates.why)
        return
    for one in facts.certificates:
        if one.begins_s <= facts.now_s < one.ends_s - EXPIRES_SOON_S:
            continue
        days = (one.ends_s - facts.now_s) / DAY_S
        when = f"expired {-days:.0f} days ago" if days < 0 else f"expires in {days:.0f} days"
        if facts.now_s < one.begins_s:
            when = "is not valid yet, by this node's clock"
        yield Diagnosis(
            "certificates",
            Severity.WARNING,
            f"{one.path} {when}",
            "it counts because it is pinned, but a peer with an older carpool refuses it; "
            "certificates that `carpool init` makes do not expire",
            "remove the file on its node and pair again: `carpool init --replace`, then "
            "`carpool join --replace`",
        )


CHECKS = (
    Check("kernel", "what carpool needs of the kernel", kernel),
    Check("processes", "processes that should run", processes),
    Check("conntrack-table", "room for connections", conntrack_table),
    Check("bound-services", "services on addresses that move", bound_services),
    Check("certificates", "certificates and their dates", certificates),
)
