"""What `carpool setup` proposes: which device is what, VIPs, VHIDs, the other node's name.

Room: machine. Pure. A proposal is a guess that somebody confirms; where there is no good one, there
is none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from ipaddress import ip_interface, ip_network
from itertools import islice

from carpool.model.config import VHID_MAX, Address, AddressWithMask, Config
from carpool.model.facts import Device, Heard
from carpool.model.finding import reserved
from carpool.proto.routers import PROBE

FIRST_VHID = 51
NAMES = ("lan", "wan", "dmz", "guest", "office", "voice", "iot")
CANDIDATES_MAX = 8  # addresses that neighbours are asked for, of each network
_LAST = re.compile(r"(.*?)(\d+|[a-z])", re.DOTALL)


def sync_device(devices: Sequence[Device]) -> str:
    """The link between the nodes: by its name, or by a small network without default route."""
    usable = [one for one in devices if networks(one) and not one.default]
    named = [one for one in usable if re.search(r"sync|ha\d|pfsync|carp", one.name)]
    small = [one for one in usable if any(_is_small(each) for each in networks(one))]
    spare = usable[-1:] if len(usable) > 1 else []
    return next((one.name for one in (*named, *small, *spare)), "")


def roles(devices: Sequence[Device], sync: str) -> dict[str, str]:
    """Logical names of the devices that have VIPs: `wan` leads to the default route."""
    found: dict[str, str] = {}
    for one in sorted(devices, key=lambda each: each.default):
        if one.name == sync or not networks(one) or not one.up:
            continue
        said = one.name.rstrip("0123456789")  # an operator who gives names means them
        usual = "wan" if one.default else "lan"
        found[_free(said if said in NAMES else usual, found)] = one.name
    return found


def networks(device: Device) -> list[AddressWithMask]:
    """Its own addresses, without link-local ones; one for each network."""
    found: dict[object, AddressWithMask] = {}
    for one in device.addresses:
        if not one.ip.is_link_local and one.network.prefixlen < one.max_prefixlen:
            found.setdefault(one.network, one)
    return list(found.values())


def candidates(device: Device) -> dict[AddressWithMask, list[Address]]:
    """By own address, which addresses of its network a VIP might have, the best first."""
    taken = {one.ip for one in device.addresses} | {*device.gateways}
    found = {}
    for own in networks(device):
        first, last = int(own.network.network_address), int(own.network.broadcast_address)
        near = (*range(first + 1, first + 10), *range(last - 1, last - 6, -1))
        here = (own.network.network_address + (number - first) for number in near)
        good = (
            one
            for one in here
            if one in own.network and one not in taken and not reserved(one, own.network.prefixlen)
        )
        found[own] = list(islice(dict.fromkeys(good), CANDIDATES_MAX))
    return found


def vips(device: Device, answered: Collection[Address]) -> list[AddressWithMask]:
    """One free address of each network, with the mask that the device has itself. The neighbours of
    its own address are left for the other node."""
    found = []
    for own, here in candidates(device).items():
        free = [one for one in here if one not in answered]
        far = [one for one in free if abs(int(one) - int(own.ip)) != 1 or int(one) & 0xFF == 1]
        if best := next(iter(far or free), None):
            found.append(ip_interface(f"{best}/{own.network.prefixlen}"))
    return found


def vhid(device: str, heard: Collection[Heard], others: Collection[int]) -> int:
    """The lowest from FIRST_VHID that nobody is heard with there and is not among `others`."""
    used = {one.vhid for one in heard if one.interface == device and one.kind != PROBE}
    numbers = (*range(FIRST_VHID, VHID_MAX + 1), *range(1, FIRST_VHID))
    return next((one for one in numbers if one not in used and one not in others), 0)


def used_vhids(device: str, heard: Collection[Heard]) -> dict[int, str]:
    """Who speaks for which number there."""
    return {
        one.vhid: f"{one.kind} of {one.source}"
        for one in heard
        if one.interface == device and one.kind != PROBE
    }


def peer_name(name: str) -> str:
    """fw2 for fw1, gw-b for gw-a; nothing for what cannot be counted."""
    found = _LAST.fullmatch(name)
    if found is None:
        return ""
    head, last = found[1], found[2]
    if last.isdigit():
        return f"{head}{int(last) + (1 if int(last) % 2 else -1)}"
    pairs = {"a": "b", "b": "a"}
    return f"{head}{pairs[last]}" if last in pairs and (not head or not head[-1].isalpha()) else ""


def peer_candidates(device: Device) -> list[Address]:
    """Where the other node may be on this link: beside our own address."""
    found: list[Address] = []
    for own in networks(device):
        odd = int(own.ip) & 1
        for near in (1, -1) if odd else (-1, 1):
            try:
                address = own.ip + near
            except ValueError:
                continue
            if address in own.network and not reserved(address, own.network.prefixlen):
                found.append(address)
    return found


def mapping(theirs: Config, devices: Sequence[Device]) -> dict[str, str]:
    """By logical interface of the other node's files, our device in the same network."""
    known: dict[str, list[Address]] = {
        name: list(here) for name, here in theirs.node.addresses.items()
    }
    for vip in theirs.group.vips:
        known.setdefault(vip.interface, []).extend(one.ip for one in vip.addresses)
    found: dict[str, str] = {}
    for name in theirs.node.interfaces:
        for one in devices:
            if one.name not in found.values() and any(
                address in own.network for address in known.get(name, ()) for own in networks(one)
            ):
                found[name] = one.name
                break
    return found


def own_name(theirs: Config, devices: Sequence[Device], hostname: str) -> str:
    """The peer that the other node expects at an address of ours."""
    own = {one.ip for device in devices for one in device.addresses}
    for peer in theirs.node.peers:
        if any(address in own for here in peer.addresses.values() for address in here):
            return peer.name
    return hostname


def spelled(pairs: Mapping[str, str]) -> str:
    """`lan=eth0 wan=eth1`"""
    return " ".join(f"{name}={device}" for name, device in pairs.items())


def pairs_in(text: str) -> dict[str, str] | None:
    """The other way round; None for what is not so spelled, or names something twice."""
    found: dict[str, str] = {}
    for word in text.replace(",", " ").split():
        name, equals, device = word.partition("=")
        if not (name and equals and device) or name in found:
            return None
        found[name] = device
    return found


def _is_small(own: AddressWithMask) -> bool:
    """A network for two nodes, or for some."""
    bits = own.max_prefixlen - own.network.prefixlen
    return 1 <= bits <= 3


def _free(name: str, taken: Collection[str]) -> str:
    numbered = (f"{name}{number}" for number in _counted())
    return name if name not in taken else next(one for one in numbered if one not in taken)


def _counted() -> Iterator[int]:
    number = 2
    while True:
        yield number
        number += 1


def in_one_network(address: Address, device: Device) -> bool:
    """Whether the device has an address in the same network."""
    return any(address in ip_network(own.network) for own in device.addresses)
