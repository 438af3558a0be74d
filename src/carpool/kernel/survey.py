"""What a machine is connected to, for who sets it up: devices, addresses, default routes.

Room: kernel. Asks neighbours at most (ARP and ND), and changes nothing.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address

from carpool.errors import KernelError
from carpool.kernel.clock import monotonic_s, sleep_s
from carpool.kernel.links import read_topology, topology_now
from carpool.kernel.netlink import NETLINK_ROUTE, NetlinkSocket, Request
from carpool.model.config import Address
from carpool.model.facts import Device
from carpool.proto import rtnetlink as rt

ANSWER_S = 1.0  # a neighbour that is there answers within milliseconds
POLL_S = 0.05
_ABSENT = frozenset({errno.ENOENT})
_OWN_KINDS = ("macvlan",)  # what carpool makes of a device is none to set up


def devices() -> list[Device]:
    """Those that CARP may run on, in the order of the kernel. Raises KernelError."""
    topology = topology_now()
    gateways = _gateways()
    found = []
    for link in topology.links.values():
        if not link.ethernet or link.kind in _OWN_KINDS:
            continue
        addresses = tuple(one.address for one in topology.own(link.index) if one.usable)
        ways = gateways.get(link.name)
        found.append(
            Device(link.name, link.up, link.carrier, addresses, tuple(ways or ()), ways is not None)
        )
    return found


def _gateways() -> dict[str, list[Address]]:
    """By device, where its default routes lead; a device with one that names no gateway is there,
    too."""
    found: dict[str, list[Address]] = {}
    for words in _lines("/proc/net/route"):
        if len(words) > 7 and words[1] == words[7] == "00000000":
            here = found.setdefault(words[0], [])
            if int(words[2], 16):
                here.append(IPv4Address(bytes.fromhex(words[2])[::-1]))
    for words in _lines("/proc/net/ipv6_route"):
        if len(words) > 9 and (words[0], words[1]) == ("0" * 32, "00") and words[9] != "lo":
            here = found.setdefault(words[9], [])
            if int(words[4], 16):
                here.append(IPv6Address(bytes.fromhex(words[4])))
    return found


def _lines(path: str) -> Iterator[list[str]]:
    try:
        with open(path, encoding="ascii", errors="replace") as lines:
            yield from (line.split() for line in lines)
    except OSError:
        return  # that family is off


def answering(asked: Mapping[str, Collection[Address]]) -> set[Address]:
    """Of these addresses, by device, those that a neighbour there has: all are asked for at once,
    for ANSWER_S. Where that cannot be done (this is not root, a family is off), none does."""
    found: set[Address] = set()
    socket = NetlinkSocket(NETLINK_ROUTE)
    try:
        topology = read_topology(socket)
        links = {name: topology.named(name) for name in asked}
        wanted = {
            (link.index, address)
            for name, link in links.items()
            if link is not None and link.up and link.carrier
            for address in asked[name]
        }
        for index, address in wanted:
            what = f"ask for {address} on device {index}"
            socket.request([Request(what, rt.resolve_neighbour(index, address))])
        until_s = monotonic_s() + ANSWER_S
        while wanted and monotonic_s() < until_s:
            sleep_s(POLL_S)
            known = {one for one in wanted if _is_known(socket, *one)}
            found |= {address for _index, address in known}
            wanted -= known
    except KernelError:
        return found
    finally:
        socket.close()
    return found


def _is_known(socket: NetlinkSocket, index: int, address: Address) -> bool:
    """Raises KernelError."""
    question = Request(f"look up {address}", rt.get_neighbour(index, address), _ABSENT)
    return any(one.mac for one in map(rt.parse_neighbour, socket.ask(question)) if one)
