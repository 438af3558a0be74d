"""What `carpool doctor` wants to know of this machine: settings, devices, connection tracking.

Room: kernel. Looks, and changes nothing; refuses to judge.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from carpool import __version__
from carpool.kernel import sysctl
from carpool.kernel.links import topology_now
from carpool.kernel.netlink import NETLINK_ROUTE, NetlinkSocket, Request
from carpool.model.config import Address
from carpool.model.facts import InterfaceFacts, NodeFacts
from carpool.proto import rtnetlink as rt

_COUNT, _MAX = "net/netfilter/nf_conntrack_count", "net/netfilter/nf_conntrack_max"


def node_facts(devices: Mapping[str, str]) -> NodeFacts:
    """Of this network namespace; `devices` by logical interface. Raises KernelError."""
    return NodeFacts(
        __version__,
        os.uname().release,
        interface_facts(devices),
        sysctl.read(_MAX),
        sysctl.read(_COUNT),
    )


def interface_facts(devices: Mapping[str, str]) -> dict[str, InterfaceFacts]:
    """By logical interface. Raises KernelError."""
    topology = topology_now()
    facts = {}
    for name, device in devices.items():
        link = topology.named(device)
        if link is None:
            facts[name] = InterfaceFacts(device)
            continue
        addresses = tuple(found.address for found in topology.own(link.index))
        facts[name] = InterfaceFacts(device, True, link.up, link.carrier, link.mtu, addresses)
    return facts


def present() -> frozenset[Address]:
    """All addresses of this network namespace, VIPs too. Raises KernelError."""
    socket = NetlinkSocket(NETLINK_ROUTE)
    try:
        messages = socket.dump(Request("list the addresses", rt.get_addresses()))
    finally:
        socket.close()
    return frozenset(found.address.ip for found in map(rt.parse_address, messages) if found)


def settings(keys: Iterable[str]) -> dict[str, int]:
    """Those that are there, by key."""
    found = {key: sysctl.read(key) for key in keys}
    return {key: value for key, value in found.items() if value is not None}
