"""A finding of the validators, and the rules that several of them need.

Room: model. Says what is wrong with one name, number or address; refuses to know what a
configuration is made of.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from carpool.model.config import Address, Family, Node, Problem
from carpool.model.keypath import KeyPath, quoted, render

NODE_FILE, GROUP_FILE = "node.toml", "group.toml"
PORT_MIN, PORT_MAX = 1, 65535
NAME_RULE = "1 to 32 of a-z, 0-9 and -, not starting with -"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
FAMILY_LABEL = {Family.IPV4: "IPv4", Family.IPV6: "IPv6"}

_THIS_NETWORK = IPv4Network("0.0.0.0/8")  # RFC 1122 3.2.1.3: never an address of a host
_BROADCAST = IPv4Address("255.255.255.255")

Place = tuple[str, KeyPath]  # a file and where in it


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem, and the places whose reading it rests on: if one was lost, it may be false."""

    place: Place
    found: str
    expected: str
    hint: str = ""
    fatal: bool = True
    needs: tuple[Place, ...] = ()

    def is_sound(self, lost: Collection[Place]) -> bool:
        """Whether nothing that this rests on is among what could not be read."""
        return not any(
            _within(self.place, gone)
            or any(_within(need, gone) or _within(gone, need) for need in self.needs)
            for gone in lost
        )

    @property
    def problem(self) -> Problem:
        file, path = self.place
        return Problem(file, render(path), self.found, self.expected, self.hint, fatal=self.fatal)


def is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def has_name(place: Place, name: str) -> Iterator[Finding]:
    """What is written at `place` must be a good name."""
    if not is_name(name):
        yield Finding(place, quoted(name), NAME_RULE)


def in_range(place: Place, value: int, low: int, high: int, hint: str = "") -> Iterator[Finding]:
    """What is written at `place` must be from `low` to `high`, both included."""
    if not low <= value <= high:
        yield Finding(place, str(value), f"a number from {low} to {high}", hint)


def known_interface(place: Place, interface: str, node: Node) -> Iterator[Finding]:
    """What is written at `place` must be a logical interface of this node."""
    if interface not in node.interfaces:
        names = ", ".join(node.interfaces) or "one written there"
        yield Finding(
            place,
            quoted(interface),
            f"a logical interface of [interface] in {NODE_FILE}: {names}",
            closest(interface, node.interfaces),
            needs=((NODE_FILE, ("interface", interface)),),
        )


def unusable(address: Address) -> str:
    """Why no host can have this address, for a sentence ("found ..., ..."); empty if one can."""
    if address.is_unspecified:
        return "the unspecified address"
    if address.is_loopback:
        return "a loopback address"
    if address.is_multicast:
        return "a multicast address"
    if address == _BROADCAST:
        return "the broadcast address"
    if address.version == 4 and address in _THIS_NETWORK:
        return 'an address of "this network" (0.0.0.0/8)'
    if address.version == 6 and address.ipv4_mapped is not None:
        return "an IPv4 address written as IPv6"
    return ""


def closest(word: str, known: Iterable[str]) -> str:
    """`did you mean "lan"?`, or nothing when no known word is near."""
    from difflib import get_close_matches  # only the one who mistyped pays for it

    near = get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f"did you mean {quoted(near[0])}?" if near else ""


def reserved(ip: Address, prefixlen: int) -> str:
    """Why a network of this length keeps `ip` for itself, or nothing.

    IPv4: the first and last address up to /30 (RFC 3021 frees both of a /31). IPv6: the first up to
    /126 (subnet-router anycast, RFC 4291 2.6.1; RFC 6164 frees it on a /127).
    """
    if prefixlen >= ip.max_prefixlen - 1:
        return ""
    host_bits = ip.max_prefixlen - prefixlen
    host = int(ip) & ((1 << host_bits) - 1)
    if host == 0:
        return f"the address of the network itself (/{prefixlen})"
    if ip.version == 4 and host == (1 << host_bits) - 1:
        return f"the broadcast address of its network (/{prefixlen})"
    return ""


def _within(place: Place, other: Place) -> bool:
    return place[0] == other[0] and place[1][: len(other[1])] == other[1]
