"""What is wrong with a configuration that can be read, whatever machine it is for.

Room: model. Judges values against each other; refuses to know TOML, files and the kernel.
`api/settings.py` tells what cannot even be read, and passes on what was lost that way, so that one
mistake is told once. `model/validate_system.py` judges by the devices of this machine.

A problem is fatal when a process could only do harm with it (an address that belongs to somebody
else, a peer that refuses every packet), and a warning when it may mend itself (a device that
appears later) or may be meant (a VIP outside the networks of its interface).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from carpool.model.config import (
    ADVBASE_MAX_S,
    ADVBASE_MIN_S,
    ADVSKEW_MAX,
    ADVSKEW_MIN,
    EXCLUSIONS_MAX,
    PASSWORD_MAX_BYTES,
    PORT_PROTOCOLS,
    PROTOCOLS,
    VHID_MAX,
    VHID_MIN,
    Address,
    AddressWithMask,
    Config,
    Exclusion,
    Node,
    Problem,
    States,
    Transport,
    Vip,
    family_of,
)
from carpool.model.finding import (
    FAMILY_LABEL,
    GROUP_FILE,
    NODE_FILE,
    PORT_MAX,
    PORT_MIN,
    Finding,
    Place,
    has_name,
    in_range,
    known_interface,
    reserved,
    unusable,
)
from carpool.model.keypath import KeyPath, quoted, render
from carpool.model.validate_scripts import script_findings
from carpool.model.validate_sync import link, sync_findings
from carpool.model.validate_system import check_system
from carpool.model.validate_web import web_findings

__all__ = ["check_config", "check_system"]

PEERS_MAX = 7  # a group is 2 to 8 nodes: each replicates to all others
DEVICE_NAME_MAX_BYTES = 15  # IFNAMSIZ - 1, Linux include/uapi/linux/if.h


def check_config(config: Config, lost: Collection[Place] = ()) -> list[Problem]:
    """Everything wrong with these values whatever machine they are for; empty if nothing is.

    `lost` names what its reader could not read and put a stand-in for: nothing is said about those
    places, nor what is only true because something is missing there.
    """
    findings = (
        *_node(config.node),
        *_peers(config.node),
        *_group(config),
        *_taken_twice(config),
        *_unicast(config),
        *_states(config),
        *sync_findings(config),
        *script_findings(config.group),
        *web_findings(config),
    )
    return [finding.problem for finding in findings if finding.is_sound(lost)]


# ------------------------------------------------------------------------------- node.toml


def _node(node: Node) -> Iterator[Finding]:
    yield from has_name((NODE_FILE, ("name",)), node.name)
    yield from in_range(
        (NODE_FILE, ("advskew",)),
        node.advskew,
        ADVSKEW_MIN,
        ADVSKEW_MAX,
        "the node with the lowest is preferred as master; 255 would mean that it is leaving",
    )
    if not node.interfaces:
        table: Place = (NODE_FILE, ("interface",))
        hint = 'write [interface] and below it, for instance, lan = "enp1s0"'
        yield Finding(
            table, "no interface", "a device for every logical name", hint, needs=(table,)
        )
    first: dict[str, str] = {}
    for interface, device in node.interfaces.items():
        place = (NODE_FILE, ("interface", interface))
        yield from has_name(place, interface)
        yield from _device_name(place, device)
        if (other := first.setdefault(device, interface)) != interface:
            yield Finding(
                place,
                f"{quoted(device)}, which is interface.{other} too",
                "another device for each logical interface",
                needs=((NODE_FILE, ("interface", other)),),
            )
    yield from _addresses(("address",), node.addresses, node)


def _device_name(place: Place, device: str) -> Iterator[Finding]:
    # The kernel's rule: dev_valid_name(), net/core/dev.c.
    wrong = re.search(r"[\s/:\0]", device) or device in ("", ".", "..")
    if wrong or len(device.encode()) > DEVICE_NAME_MAX_BYTES:
        rule = (
            f"the name of a network device: 1 to {DEVICE_NAME_MAX_BYTES} bytes without / : or space"
        )
        yield Finding(place, quoted(device), rule, "`ip -brief link` lists the devices")
    elif device == "lo":
        yield Finding(place, '"lo"', "a device with neighbours", "nobody can be heard on loopback")


def _addresses(
    path: KeyPath, addresses: Mapping[str, tuple[Address, ...]], node: Node
) -> Iterator[Finding]:
    """Own addresses of this node or a peer, by logical interface."""
    for interface, here in addresses.items():
        yield from known_interface((NODE_FILE, (*path, interface)), interface, node)
        for index, address in enumerate(here):
            if why := unusable(address):
                place = (NODE_FILE, (*path, interface, index))
                yield Finding(place, f"{address}, {why}", "an address that one host has")


def _peers(node: Node) -> Iterator[Finding]:
    place: Place = (NODE_FILE, ("peer",))
    if not node.peers:
        yield Finding(
            place,
            "no peer",
            "a [peer.NAME.address] table for every other node",
            "alone, this node has nobody to fail over to",
            fatal=False,
            needs=(place,),
        )
    if len(node.peers) > PEERS_MAX:
        yield Finding(place, f"{len(node.peers)} peers", f"{PEERS_MAX} at most: 8 nodes in a group")
    for peer in node.peers:
        path: KeyPath = ("peer", peer.name)
        yield from has_name((NODE_FILE, path), peer.name)
        if peer.name == node.name:
            yield Finding(
                (NODE_FILE, path),
                f"{quoted(peer.name)}, the name of this node",
                "the name of another node",
                f"was {NODE_FILE} copied from another node? it is what differs between nodes",
                needs=((NODE_FILE, ("name",)),),
            )
        yield from _addresses((*path, "address"), peer.addresses, node)


# ------------------------------------------------------------------------------ group.toml


def _group(config: Config) -> Iterator[Finding]:
    group = config.group
    yield from has_name((GROUP_FILE, ("name",)), group.name)
    if not group.vips:
        place = (GROUP_FILE, ("vip",))
        yield Finding(
            place, "no [[vip]]", "at least one virtual address to fail over", needs=(place,)
        )
    first: dict[tuple[str, int], int] = {}
    for index, vip in enumerate(group.vips):
        yield from _vip(("vip", index), vip, config.node)
        other = first.setdefault((vip.interface, vip.vhid), index)
        if other != index and VHID_MIN <= vip.vhid <= VHID_MAX:
            yield Finding(
                (GROUP_FILE, ("vip", index, "vhid")),
                f"{vip.vhid}, which vip[{other}] has on {quoted(vip.interface)} too",
                "each VHID once on an interface",
                f"further addresses of VHID {vip.vhid} go into the `addresses` of vip[{other}]",
                needs=((GROUP_FILE, ("vip", index, "interface")), (GROUP_FILE, ("vip", other))),
            )


def _vip(path: KeyPath, vip: Vip, node: Node) -> Iterator[Finding]:
    yield from known_interface((GROUP_FILE, (*path, "interface")), vip.interface, node)
    yield from in_range((GROUP_FILE, (*path, "vhid")), vip.vhid, VHID_MIN, VHID_MAX)
    yield from in_range(
        (GROUP_FILE, (*path, "advbase")),
        vip.advbase_s,
        ADVBASE_MIN_S,
        ADVBASE_MAX_S,
        "seconds between advertisements: a backup takes over after three of them",
    )
    if not 1 <= len(vip.password) <= PASSWORD_MAX_BYTES:
        yield Finding(
            (GROUP_FILE, (*path, "password")),
            f"{len(vip.password)} bytes",
            f"1 to {PASSWORD_MAX_BYTES} bytes in UTF-8",
            f"CARP keys its digest with {PASSWORD_MAX_BYTES} bytes and ignores the rest"
            if vip.password
            else "without one, anybody on the wire can become master",
        )
    place = (GROUP_FILE, (*path, "addresses"))
    if not vip.addresses:
        yield Finding(place, "no address", "at least one, with its mask", needs=(place,))
    for index, address in enumerate(vip.addresses):
        yield from _vip_address((GROUP_FILE, (*path, "addresses", index)), address)


def _vip_address(place: Place, address: AddressWithMask) -> Iterator[Finding]:
    ip, network = address.ip, address.network
    expected = "an address that a host can have"
    if why := unusable(ip):
        yield Finding(place, f"{address}, {why}", expected)
    elif network.prefixlen == 0:
        yield Finding(
            place, str(address), "the mask of the interface's network", "/0 is everything"
        )
    elif why := reserved(ip, network.prefixlen):
        yield Finding(place, f"{address}, {why}", expected)


# --------------------------------------------------------------------------- between the two


@dataclass(frozen=True, slots=True)
class _Claim:
    """One place that says who has an address."""

    kind: str  # own, peer, vip
    place: Place
    interface: str
    address: Address


_TAKEN_HINT = {
    "own": "",
    "peer": f"was {NODE_FILE} copied from another node? [address] is this node's, [peer...] theirs",
    "vip": "a VIP moves between the nodes: no node may have it of its own, and one VHID only",
}


def _claims(config: Config) -> Iterator[_Claim]:
    def of_node(
        kind: str, path: KeyPath, addresses: Mapping[str, tuple[Address, ...]]
    ) -> Iterator[_Claim]:
        for interface, here in addresses.items():
            for index, address in enumerate(here):
                yield _Claim(kind, (NODE_FILE, (*path, interface, index)), interface, address)

    yield from of_node("own", ("address",), config.node.addresses)
    for peer in config.node.peers:
        yield from of_node("peer", ("peer", peer.name, "address"), peer.addresses)
    for position, vip in enumerate(config.group.vips):
        for index, with_mask in enumerate(vip.addresses):
            place = (GROUP_FILE, ("vip", position, "addresses", index))
            yield _Claim("vip", place, vip.interface, with_mask.ip)


def _taken_twice(config: Config) -> Iterator[Finding]:
    """An address belongs to one host, or to one VHID. A link-local one to one on each link."""
    first: dict[tuple[Address, str], _Claim] = {}
    for claim in _claims(config):
        if unusable(claim.address):
            continue
        link = claim.interface if claim.address.is_link_local else ""
        other = first.setdefault((claim.address, link), claim)
        if other is claim:
            continue
        file, path = other.place
        yield Finding(
            claim.place,
            f"{claim.address}, which is {render(path)} in {file} too",
            "each address once",
            _TAKEN_HINT[claim.kind],
            needs=(other.place,),
        )


def _unicast(config: Config) -> Iterator[Finding]:
    """Unicast advertisements go to the peers' own addresses, family by family."""
    for index, vip in enumerate(config.group.vips):
        if vip.transport is not Transport.UNICAST or vip.interface not in config.node.interfaces:
            continue
        for peer in config.node.peers:
            present = {family_of(address) for address in peer.addresses.get(vip.interface, ())}
            where = ("peer", peer.name, "address", vip.interface)
            for family in vip.families:
                label = FAMILY_LABEL[family]
                if family not in present:
                    yield Finding(
                        (GROUP_FILE, ("vip", index, "transport")),
                        f'"unicast", but no {label} address of {peer.name} to send to',
                        f"one in {render(where)} of {NODE_FILE}",
                        f"the VIP has {label} addresses, advertised over {label}",
                        needs=(
                            (NODE_FILE, where),
                            (GROUP_FILE, ("vip", index, "addresses")),
                            (GROUP_FILE, ("vip", index, "interface")),
                        ),
                    )


def _states(config: Config) -> Iterator[Finding]:
    """Every node listens on its own address of the states interface and connects to its peers'."""
    states, node = config.group.states, config.node
    if states is None:
        return
    place: Place = (GROUP_FILE, ("states", "interface"))
    yield from in_range((GROUP_FILE, ("states", "port")), states.port, PORT_MIN, PORT_MAX)
    yield from _exclusions(states, node)
    if states.interface not in node.interfaces:
        yield from known_interface(place, states.interface, node)
        return
    if states.interface in config.vip_interfaces():
        yield Finding(
            place,
            f"{quoted(states.interface)}, which carries VIPs",
            "a link of its own between the nodes",
            "replication competes with the traffic of that network, and fails with it",
            fatal=False,
        )
    yield from link(
        node, place, states.interface, "to listen on for states", "to replicate states to"
    )


def _exclusions(states: States, node: Node) -> Iterator[Finding]:
    whole: Place = (GROUP_FILE, ("states", "exclude"))
    if len(states.exclude) > EXCLUSIONS_MAX:
        yield Finding(whole, f"{len(states.exclude)} exclusions", f"{EXCLUSIONS_MAX} at most")
    for index, exclusion in enumerate(states.exclude):
        path: KeyPath = ("states", "exclude", index)
        place = (GROUP_FILE, path)
        if exclusion == Exclusion():
            expected = "at least one of interface, network, protocol, port, mark"
            hint = "an empty one would be everything: leave out [states] instead"
            yield Finding(place, "nothing to exclude by", expected, hint, needs=(place,))
        if exclusion.interface:
            named: Place = (GROUP_FILE, (*path, "interface"))
            yield from known_interface(named, exclusion.interface, node)
        if exclusion.port is None:
            continue
        port: Place = (GROUP_FILE, (*path, "port"))
        yield from in_range(port, exclusion.port, PORT_MIN, PORT_MAX)
        if exclusion.protocol is not None and exclusion.protocol not in PORT_PROTOCOLS:
            names = [name for name, number in PROTOCOLS.items() if number in PORT_PROTOCOLS]
            yield Finding(
                port,
                f"a port of protocol {exclusion.protocol}, which has none",
                f"a port of {', '.join(names)}",
                needs=((GROUP_FILE, (*path, "protocol")),),
            )
