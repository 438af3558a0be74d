"""The nft table `inet carpool_rules`, as text: who may speak with carpool on this node.

Room: proto. Text only, made of the configuration alone; refuses to know how it is loaded
(`kernel/ownrules.py`). It can keep packets out, and not let in what another table drops: an accept
ends a chain, a drop ends the packet. Why so: docs/decisions/0053-a-table-of-our-own.md.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator

from carpool.errors import ConfigError
from carpool.model.config import STATES_PORT, Address, Config, family_of
from carpool.model.keypath import quoted
from carpool.proto.carp import AUTH_WORDS, LENGTH, PROTOCOL, VERSION_TYPE

FAMILY, TABLE = "inet", "carpool_rules"
MARK = "carpool rules"  # a rule's comment: this and the digest of the text tell whose files made it
INPUT_PRIORITY = "filter - 10"  # before the operator's rules

# VRRP has the same protocol number, and is another daemon's business. Its version 2 has the same
# first byte, too, and counts addresses where CARP has AUTH_WORDS: with seven it is of other length.
_PACKETS = f"{{ {LENGTH + 20}, {LENGTH + 40} }}"  # bytes with an IPv4 header, an IPv6 header
_CARP = (
    f"meta l4proto {PROTOCOL} meta length {_PACKETS} @th,0,8 {VERSION_TYPE} @th,24,8 {AUTH_WORDS}"
)
_BEGINNING = "tcp flags & (fin | syn | rst | ack) == syn"  # what can begin a connection
_PLAIN = re.compile(r"[A-Za-z0-9._@+-]{1,15}")  # nft reads `*` and quotes in names of devices


def pairing_port(config: Config) -> int:
    """Where nodes are paired: the port after that of the states."""
    states = config.group.states
    return (states.port if states is not None else STATES_PORT) % 65535 + 1


def ports(config: Config) -> list[int]:
    """All TCP ports that carpool listens on for other nodes."""
    found = {pairing_port(config)}
    for one in (config.group.states, config.group.sync):
        if one is not None:
            found.add(one.port)
    return sorted(found)


def ways_in(config: Config) -> Iterator[tuple[str, str, tuple[Address, ...], list[int]]]:
    """Logical interface, peer, its addresses there, and the TCP ports that it may come to."""
    for interface in config.node.addresses:
        there = [pairing_port(config)]
        for one in (config.group.states, config.group.sync):
            if one is not None and one.interface == interface:
                there.append(one.port)
        for peer in config.node.peers:
            addresses = peer.addresses.get(interface, ())
            if addresses:
                yield interface, peer.name, addresses, sorted(there)


def text(config: Config) -> str:
    """For `nft -f -`: puts the whole table in place of what is there. ConfigError for a device
    whose name nft would read as something else."""
    body = "\n".join(_body(config))
    digest = hashlib.sha256(body.encode()).hexdigest()[:16]
    marked = body.replace("@MARK@", f'comment "{MARK} {digest}"')
    return (
        f"table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n"
        f"table {FAMILY} {TABLE} {{\n{marked}\n}}\n"
    )


def mark(config: Config) -> str:
    """The comment by which the table of this configuration is known."""
    found = re.search(f'comment "({MARK} [0-9a-f]+)"', text(config))
    assert found is not None
    return found[1]


def removal() -> str:
    """For `nft -f -`: takes it away, if it is there."""
    return f"table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n"


def _body(config: Config) -> Iterator[str]:
    for chain, hook in (("untracked_in", "prerouting"), ("untracked_out", "output")):
        yield f"  chain {chain} {{ type filter hook {hook} priority raw; policy accept;"
        yield f"    {_CARP} notrack"
        yield "  }"
    listed = ", ".join(map(str, ports(config)))
    yield f"  chain input {{ type filter hook input priority {INPUT_PRIORITY}; policy accept;"
    yield '    iifname "lo" accept @MARK@'
    yield f"    {_CARP} goto adverts"
    yield f"    tcp dport {{ {listed} }} {_BEGINNING} goto streams"
    web = config.group.web
    if web is not None:
        yield f"    tcp dport {web.port} {_BEGINNING} goto pages"
    yield "  }"
    yield "  chain adverts {"
    for interface in config.vip_interfaces():
        yield from (f"    {line} accept" for line in _speakers(config, interface))
    yield "    counter drop"
    yield "  }"
    yield "  chain streams {"
    for interface, peer, addresses, there in ways_in(config):
        entry = _entry(config.device(interface))
        dport = f"tcp dport {{ {', '.join(map(str, there))} }}"
        for source in _sources(addresses):
            yield f'    {entry} {source} {dport} accept comment "{peer}"'
    yield "    counter drop"
    yield "  }"
    if web is not None:  # by any of our addresses: a host answers for all of them on every device
        yield "  chain pages {"
        yield from (f"    {_entry(config.device(name))} accept" for name in web.interfaces)
        yield "    counter drop"
        yield "  }"


def _speakers(config: Config, interface: str) -> Iterator[str]:
    """Who may send adverts there: peers whose addresses are known, or the VIPs' own networks."""
    entry = _entry(config.device(interface))
    vips = [one for vip in config.group.vips if vip.interface == interface for one in vip.addresses]
    known = [peer.addresses.get(interface, ()) for peer in config.node.peers]
    for family, word in (("ipv4", "ip"), ("ipv6", "ip6")):
        here = [one for one in vips if family_of(one) == family]
        if not here:
            continue
        peers = [[one for one in each if family_of(one) == family] for each in known]
        if family == "ipv6":  # adverts come from link-local addresses
            yield f"{entry} ip6 saddr fe80::/10"
            extra = [one for each in peers for one in each if not one.is_link_local]
            if extra:
                yield f"{entry} ip6 saddr {{ {_listed(extra)} }}"
        elif peers and all(peers):
            yield f"{entry} ip saddr {{ {_listed(one for each in peers for one in each)} }}"
        elif any(one.network.prefixlen == one.max_prefixlen for one in here):
            yield f"{entry} meta nfproto ipv4"  # no network is known: a VIP that is routed here
        else:
            yield f"{entry} {word} saddr {{ {_listed(one.network for one in here)} }}"


def _sources(addresses: Iterable[Address]) -> Iterator[str]:
    found = list(addresses)
    for version, word in ((4, "ip"), (6, "ip6")):
        here = [one for one in found if one.version == version]
        if here:
            yield f"{word} saddr {{ {_listed(here)} }}"


def _listed(values: Iterable[object]) -> str:
    return ", ".join(dict.fromkeys(map(str, values)))


def _entry(device: str) -> str:
    if not _PLAIN.fullmatch(device):
        raise ConfigError(
            f"device {quoted(device)} has a name that nft reads as something else",
            hint="rename it; until then `carpool rules` makes no table",
        )
    return f'iifname "{device}"'
