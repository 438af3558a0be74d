"""What loaded rules do with a packet that is thought up: as far as that can be known.

Room: machine. Pure. Knows the matches that firewalls decide by (devices, addresses, protocols,
ports, state); whatever else a rule asks is UNKNOWN, and nothing is concluded from it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import ip_address, ip_network

from carpool.model.config import PROTOCOLS, Address
from carpool.proto.nftjson import Chain, Json, Rule, Tables

DEPTH_MAX = 16  # NFT_JUMP_STACK_SIZE: the kernel follows no more jumps
_NUMBERS = {**PROTOCOLS, "vrrp": 112, "carp": 112, "ipv6-icmp": 58}
_VERDICTS = ("accept", "drop", "reject", "return", "jump", "goto", "queue")
_TRANSLATIONS = ("snat", "dnat", "masquerade", "redirect")


class Fit(IntEnum):
    """Whether a rule is for a packet; of several matches, the lowest counts."""

    NO = 0
    UNKNOWN = 1
    SOME = 2  # for some of the packets that are meant: what the packet leaves open decides
    YES = 3


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a connection, of IP version 4 or 6. None: all of them are meant."""

    version: int
    source: Address | None = None
    target: Address | None = None
    protocol: int | None = None
    port: int | None = None  # of the target
    entry: str | None = None  # device that it comes in by; "": it is this node's own
    exit: str = ""  # device that it leaves by; "": none


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule that ends the way of a packet, or may."""

    rule: Rule
    verdict: str  # accept, drop, reject, snat...
    body: object  # what the verdict says besides
    fit: Fit


def blocker(tables: Tables, hook: str, packet: Packet) -> Rule | Chain | None:
    """The rule, or the chain with its policy, that surely keeps this packet from passing a hook;
    None when it passes, or may."""
    families = ("inet", "ip" if packet.version == 4 else "ip6", "netdev")
    for chain in tables.hooked(hook, families, "filter"):
        device = packet.entry if hook == "input" else packet.exit
        if chain.devices and device not in chain.devices:
            continue
        hits = list(hits_of(tables, chain, packet))
        if any(hit.verdict in ("accept", "queue") for hit in hits):
            continue
        sure = next((hit for hit in hits if hit.fit is Fit.YES), None)
        if sure is not None:
            return sure.rule
        if chain.policy == "drop":
            return chain
    return None


def hits_of(tables: Tables, chain: Chain, packet: Packet) -> Iterator[Hit]:
    """The rules of a chain, and of those it jumps to, that end this packet's way or may; in order,
    and none after one that surely does."""
    yield from _walk(tables, chain, packet, Fit.YES, 0)


def _walk(
    tables: Tables, chain: Chain, packet: Packet, doubt: Fit, depth: int
) -> Generator[Hit, None, bool]:
    """Returns whether the way surely ended here. `doubt`: whether it comes here at all."""
    for rule in chain.rules:
        fit, ends = _read(rule, packet)
        fit = min(fit, doubt)
        if fit is Fit.NO:
            continue
        for verdict, body, certain in ends:
            sure = min(fit, certain)
            if verdict in ("jump", "goto"):
                target = _target(tables, chain, body)
                if target is not None and depth < DEPTH_MAX:
                    ended = yield from _walk(tables, target, packet, sure, depth + 1)
                    if ended:
                        return True
                if verdict == "goto" and sure is Fit.YES:
                    return False
            elif verdict == "return":
                if sure is Fit.YES:
                    return False
                doubt = min(doubt, Fit.UNKNOWN)
            else:
                yield Hit(rule, verdict, body, sure)
                if sure is Fit.YES:
                    return True
    return False


def _target(tables: Tables, chain: Chain, body: object) -> Chain | None:
    name = body.get("target") if isinstance(body, dict) else None
    return tables.chains.get((chain.family, chain.table, str(name)))


End = tuple[str, object, Fit]  # verdict, what it says, whether it is the one that counts


def _read(rule: Rule, packet: Packet) -> tuple[Fit, list[End]]:
    """Whether a rule is for the packet, and how it may end its way."""
    fit = Fit.YES
    ends: list[End] = []
    for expression in rule.expressions:
        for name, body in expression.items():
            if name == "match" and isinstance(body, dict):
                fit = min(fit, _match(body, packet))
            elif name == "vmap" and isinstance(body, dict):
                ends += _vmap(body, packet)
            elif name in (*_VERDICTS, *_TRANSLATIONS):
                ends.append((name, body, Fit.YES))
            elif name == "xt" and isinstance(body, dict) and body.get("name") == "MASQUERADE":
                ends.append(("masquerade", None, Fit.YES))  # of iptables-nft
            elif name in ("limit", "xt", "quota", "connlimit", "ct count"):
                fit = min(fit, Fit.UNKNOWN)
    return fit, ends


def _vmap(body: Json, packet: Packet) -> Iterator[End]:
    """Those verdicts of a map that the packet may get."""
    key, data = body.get("key"), body.get("data")
    pairs = data.get("set") if isinstance(data, dict) else None
    for pair in pairs if isinstance(pairs, list) else []:
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], dict)):
            continue
        fit = _match({"op": "==", "left": key, "right": pair[0]}, packet)
        if fit is not Fit.NO:
            yield from ((name, value, fit) for name, value in pair[1].items() if name != "continue")
    if not isinstance(pairs, list):  # a map with a name: what is in it was not listed
        yield from ((name, None, Fit.UNKNOWN) for name in ("accept", "drop"))


# --------------------------------------------------------------------------------- one match


_OPEN = object()  # a value that the packet leaves open
_STRANGE = object()  # one that nothing is known of
_OTHER = object()  # one that such a packet has not: the rule is not for it


def _match(body: Json, packet: Packet) -> Fit:
    """`{"op": "==", "left": ..., "right": ...}`"""
    value = _value(body.get("left"), packet)
    operator, right = body.get("op"), body.get("right")
    if value is _OTHER:
        return Fit.NO
    if value is _OPEN:
        return Fit.SOME
    if value is _STRANGE or operator not in ("==", "!=", "in"):
        return Fit.UNKNOWN
    fits = _fits(value, right)
    if fits is None:
        return Fit.UNKNOWN
    return Fit.YES if fits is (operator != "!=") else Fit.NO


def _value(left: object, packet: Packet) -> object:
    """What a packet has where a rule looks."""
    if not isinstance(left, dict) or len(left) != 1:
        return _STRANGE
    ((kind, what),) = left.items()
    if not isinstance(what, dict):
        return _STRANGE
    if kind == "meta":
        return _meta(str(what.get("key")), packet)
    if kind == "payload":
        return _payload(str(what.get("protocol")), str(what.get("field")), packet)
    if kind == "ct" and what.get("key") == "state":
        return "new"
    if kind == "fib" and (what.get("result"), what.get("flags")) == ("type", ["saddr"]):
        return "local" if packet.entry == "" else _STRANGE
    return _STRANGE


def _meta(key: str, packet: Packet) -> object:
    ipv4 = packet.version == 4
    if key in ("iif", "iifname"):
        return _OPEN if packet.entry is None else packet.entry or _OTHER
    if key in ("oif", "oifname"):
        return packet.exit or _OTHER
    if key == "l4proto":
        return _OPEN if packet.protocol is None else packet.protocol
    if key == "nfproto":
        return "ipv4" if ipv4 else "ipv6"
    if key == "protocol":
        return "ip" if ipv4 else "ip6"
    return _STRANGE


def _payload(protocol: str, field: str, packet: Packet) -> object:
    if protocol in ("ip", "ip6"):
        if protocol != ("ip" if packet.version == 4 else "ip6"):
            return _OTHER
        if field in ("protocol", "nexthdr"):
            return _OPEN if packet.protocol is None else packet.protocol
        known = {"saddr": packet.source or _OPEN, "daddr": packet.target or _OPEN}
        return known.get(field, _STRANGE)
    if protocol != "th":
        if packet.protocol is None:
            return _OPEN
        if _NUMBERS.get(protocol) != packet.protocol:
            return _OTHER
    if field == "dport":
        return _OPEN if packet.port is None else packet.port
    return _OPEN if field == "sport" else _STRANGE


def _fits(value: object, right: object) -> bool | None:
    """Whether a value is the one that is asked for, or in what is; None: that cannot be said."""
    if isinstance(right, dict):
        return _fits_compound(value, right)
    if isinstance(right, list):
        return _any(_fits(value, one) for one in right)
    if isinstance(right, str) and right.startswith("@"):
        return None
    if isinstance(value, int):
        number = _NUMBERS.get(right) if isinstance(right, str) else right
        return None if number is None else number == value
    if isinstance(value, str):
        wildcard = isinstance(right, str) and right.endswith("*")
        return value.startswith(str(right)[:-1]) if wildcard else value == right
    try:
        return ip_address(str(right)) == value
    except ValueError:
        return None


def _fits_compound(value: object, right: Json) -> bool | None:
    members, prefix, ends = right.get("set"), right.get("prefix"), right.get("range")
    if isinstance(members, list):
        return _any(_fits(value, one) for one in members)
    if isinstance(right.get("elem"), dict):
        element = right["elem"]
        return _fits(value, element.get("val") if isinstance(element, dict) else None)
    try:
        if isinstance(prefix, dict):
            network = ip_network(f"{prefix['addr']}/{prefix['len']}", strict=False)
            return value in network if not isinstance(value, int | str) else None
        if isinstance(ends, list) and len(ends) == 2:
            return _between(value, ends)
    except (KeyError, ValueError):
        return None
    return None


def _between(value: object, ends: Sequence[object]) -> bool | None:
    """Raises ValueError for what is no address."""
    if isinstance(value, int):
        low, high = ends
        return low <= value <= high if isinstance(low, int) and isinstance(high, int) else None
    if isinstance(value, str):
        return None
    first, last = (ip_address(str(one)) for one in ends)
    assert not isinstance(value, Mapping)
    same = getattr(value, "version", 0) == first.version == last.version
    return same and int(first) <= int(value) <= int(last)  # type: ignore[call-overload]


def _any(answers: Iterator[bool | None]) -> bool | None:
    found = list(answers)
    return True if True in found else None if None in found else False
