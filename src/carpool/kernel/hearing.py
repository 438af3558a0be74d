"""Listens on wires for adverts of anybody, and sends probes that a peer may hear.

Room: kernel. A probe goes where adverts go, from the device's own MAC, and means nothing to anybody
but a doctor who waits for its number. Refuses to judge who may speak.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from carpool.errors import KernelError
from carpool.kernel.adverts import member, packet_socket
from carpool.kernel.clock import monotonic_s
from carpool.kernel.links import topology_now
from carpool.model.config import Address, Family, family_of
from carpool.model.facts import Heard
from carpool.proto import ipheader as ip
from carpool.proto import routers
from carpool.proto.bpf import SNAP_BYTES
from carpool.proto.carp import PROTOCOL

HEARD_MAX = 1000  # different ones; a flood says nothing more
PROBE_EVERY_S = 0.2
DEVICES_MAX = 32
_PROTOCOLS = {PROTOCOL: routers.CARP, routers.PROBE_PROTOCOL: routers.PROBE}


@dataclass(slots=True)
class _Wire:
    interface: str
    index: int
    mac: bytes
    sources: tuple[Address, ...]  # one of each family
    sockets: dict[int, socket.socket]  # by protocol
    members: list[socket.socket]


def ethernet_devices() -> dict[str, str]:
    """Those that are up, for a node that is not configured yet. Raises KernelError."""
    links = topology_now().links.values()
    names = [link.name for link in links if link.ethernet and link.up and link.carrier]
    return {name: name for name in names[:DEVICES_MAX]}


def listen(
    devices: Mapping[str, str],
    seconds: float,
    nonce: bytes = b"",
    goes_on: Callable[[], bool] = lambda: False,
) -> list[Heard]:
    """What was heard within `seconds`, and longer while `goes_on()`; each once. With a nonce, sends
    probes with it meanwhile, and tells of those of others. Devices that are gone or down are
    passed over. Raises KernelError: this is not root."""
    wires = _open(devices)
    heard: dict[Heard, None] = {}
    until_s, probe_s = monotonic_s() + seconds, 0.0
    readable = {made: (wire, number) for wire in wires for number, made in wire.sockets.items()}
    try:
        while (now_s := monotonic_s()) < until_s or goes_on():
            if nonce and now_s >= probe_s:
                probe_s = now_s + PROBE_EVERY_S
                for wire in wires:
                    _probe(wire, nonce)
            for made in select.select([*readable], [], [], PROBE_EVERY_S / 4)[0]:
                one = _receive(*readable[made], nonce)
                if one is not None and len(heard) < HEARD_MAX:
                    heard.setdefault(one)
    finally:
        for wire in wires:
            for each in (*wire.sockets.values(), *wire.members):
                each.close()
    return list(heard)


def _open(devices: Mapping[str, str]) -> list[_Wire]:
    topology = topology_now()
    wires = []
    for interface, device in devices.items():
        link = topology.named(device)
        if link is None or not (link.ethernet and link.up):
            continue
        own = [found.address.ip for found in topology.own(link.index) if found.usable]
        own.sort(key=lambda address: not address.is_link_local)
        four = [one for one in own if one.version == 4][:1]
        six = [one for one in own if one.version == 6 and one.is_link_local][:1]
        wire = _Wire(interface, link.index, link.mac, (*four, *six), {}, [])
        wires.append(wire)
        try:
            for protocol in _PROTOCOLS:
                wire.sockets[protocol] = packet_socket(link.index, protocol)
        except OSError as error:
            raise KernelError(
                f"listen on {device}: {error.strerror}", hint="this needs root, or CAP_NET_RAW"
            ) from error
        for family in Family:
            try:
                wire.members.append(member(ip.group_of(family), link.index))
            except OSError:
                continue  # that family is off on this device
    return wires


def _probe(wire: _Wire, nonce: bytes) -> None:
    for source in wire.sources:
        family = family_of(source)
        group = ip.group_of(family)
        packet = ip.build(source, group, routers.PROBE_PROTOCOL, routers.probe(nonce))
        kind = ip.ETHERTYPE_IPV4 if family is Family.IPV4 else ip.ETHERTYPE_IPV6
        frame = ip.frame(ip.multicast_mac(group), wire.mac, kind, packet)
        try:
            wire.sockets[routers.PROBE_PROTOCOL].send(frame)
        except OSError:
            continue  # whoever does not hear it tells


def _receive(wire: _Wire, protocol: int, nonce: bytes) -> Heard | None:
    try:
        frame = wire.sockets[protocol].recv(SNAP_BYTES)
    except OSError:
        return None
    packet = ip.parse(frame, protocol)
    if isinstance(packet, ip.IpReject):
        return None
    mac = ip.mac_text(frame[6:12])
    if protocol == routers.PROBE_PROTOCOL:
        known = bool(nonce) and packet.payload[: len(routers.probe(nonce))] == routers.probe(nonce)
        return Heard(wire.interface, packet.source, mac, routers.PROBE) if known else None
    who = routers.speaker(packet.payload)
    if who is None:
        return None
    # The head says who speaks for what; the counter and digest of CARP differ each time.
    return Heard(wire.interface, packet.source, mac, *who, packet.hop_limit, packet.payload)
