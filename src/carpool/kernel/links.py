"""Follows network devices over rtnetlink: which are there, up, with carrier, with which addresses.

Room: kernel. Events move a copy of the kernel's state; when events were lost, all is read again. It
refuses to judge: whether an interface is good enough for a VIP is the engine's business. An address
that carries carpool's mark (`proto/rtnetlink.py`) is a VIP and never a node's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Address

from carpool.kernel.netlink import NETLINK_ROUTE, OVERRUN, NetlinkSocket, Request
from carpool.model.config import Address, AddressWithMask, DeviceFacts
from carpool.proto import netlink as nl
from carpool.proto import rtnetlink as rt

_GROUPS = (rt.RTNLGRP_LINK, rt.RTNLGRP_IPV4_IFADDR, rt.RTNLGRP_IPV6_IFADDR)


@dataclass(frozen=True, slots=True)
class LinkState:
    """A logical interface at one moment. A device that is gone has index 0 and nothing else."""

    interface: str  # logical name
    device: str
    present: bool = False
    index: int = 0
    mac: bytes = b""
    ethernet: bool = False  # what CARP needs
    up: bool = False  # set up by an operator
    carrier: bool = False
    own_ipv4: tuple[IPv4Interface, ...] = ()  # the primary one first; no VIP
    own_ipv6_linklocal: IPv6Address | None = None  # past duplicate address detection
    own_addresses: tuple[Address, ...] = ()  # IPv4, IPv6 link-local, other IPv6; no VIP


class Topology:
    """The kernel's links and their addresses, as of a dump and the events since."""

    def __init__(self, links: Iterable[rt.Link], addresses: Iterable[rt.DeviceAddress]) -> None:
        self.links = {link.index: link for link in links}
        # In the order of the kernel: the first IPv4 address of a subnet is the primary one.
        self.addresses: dict[int, dict[AddressWithMask, rt.DeviceAddress]] = {}
        self._vips: dict[int, set[Address]] = {}  # as of the dump alone
        for address in addresses:
            self._put(address)
            if address.ours:
                self._vips.setdefault(address.index, set()).add(address.address.ip)

    def apply(self, message: nl.Message) -> None:
        """Follow one event. Anything but a link or an address is ignored."""
        if message.type in (rt.RTM_NEWLINK, rt.RTM_DELLINK):
            link = rt.parse_link(message)
            if link is None:
                return
            if message.type == rt.RTM_NEWLINK:
                self.links[link.index] = link
            else:
                self.links.pop(link.index, None)
                self.addresses.pop(link.index, None)
        elif message.type in (rt.RTM_NEWADDR, rt.RTM_DELADDR):
            address = rt.parse_address(message)
            if address is None:
                return
            if message.type == rt.RTM_NEWADDR:
                self._put(address)
            else:
                self.addresses.get(address.index, {}).pop(address.address, None)

    def named(self, device: str) -> rt.Link | None:
        return next((link for link in self.links.values() if link.name == device), None)

    def own(self, index: int) -> list[rt.DeviceAddress]:
        """The addresses of a device that are no VIPs."""
        return [found for found in self.addresses.get(index, {}).values() if not found.ours]

    def vips(self, index: int) -> set[Address]:
        """The addresses with our mark that a device had when all was read; not followed since."""
        return self._vips.get(index, set())

    def _put(self, address: rt.DeviceAddress) -> None:
        if not address.ours:  # a master's own refreshing is no news, and there is much of it
            self.addresses.setdefault(address.index, {})[address.address] = address


def read_topology(socket: NetlinkSocket) -> Topology:
    """All links and addresses of this network namespace. Raises KernelError."""
    links = socket.dump(Request("list the links", rt.get_links()))
    addresses = socket.dump(Request("list the addresses", rt.get_addresses()))
    return Topology(
        filter(None, map(rt.parse_link, links)), filter(None, map(rt.parse_address, addresses))
    )


def topology_now() -> Topology:
    """For who looks once. Raises KernelError."""
    socket = NetlinkSocket(NETLINK_ROUTE)
    try:
        return read_topology(socket)
    finally:
        socket.close()


def device_facts(names: Iterable[str]) -> dict[str, DeviceFacts]:
    """What the kernel says about these devices, without carpool's VIPs. Raises KernelError."""
    topology = topology_now()
    facts = {}
    for name in names:
        link = topology.named(name)
        if link is None:
            facts[name] = DeviceFacts(name, present=False)
        else:
            addresses = tuple(found.address for found in topology.own(link.index))
            facts[name] = DeviceFacts(name, True, addresses, link.up, link.carrier)
    return facts


class LinkMonitor:
    """Tells of changes of the devices behind logical interfaces; a file to poll.

    A device may disappear and come back under its name with another index. How soon a lost carrier
    is told is the kernel's choice: at once for what stands on another device (veth, VLAN, bond), up
    to 1 s after the link event before it for hardware (net/core/link_watch.c).
    """

    def __init__(self, devices: Mapping[str, str]) -> None:
        """`devices`: logical name -> device. Raises KernelError."""
        self._devices = dict(devices)
        # Subscribed before the first dump, so that nothing falls between.
        self._events = NetlinkSocket(NETLINK_ROUTE, _GROUPS)
        self._requests = NetlinkSocket(NETLINK_ROUTE)
        self._topology = read_topology(self._requests)
        self._told = {state.interface: state for state in self.current()}
        self.overruns = 0  # times that events were lost

    def fileno(self) -> int:
        return self._events.fileno()

    def close(self) -> None:
        self._events.close()
        self._requests.close()

    def follow(self, devices: Mapping[str, str]) -> None:
        """Tell of these from now on; what they are like, `current` says."""
        self._devices = dict(devices)
        self._told = {state.interface: state for state in self.current()}

    def current(self) -> list[LinkState]:
        """Every interface, as of the last `read`."""
        return [self._state(interface) for interface in self._devices]

    def read(self) -> list[LinkState]:
        """Take in what happened; the interfaces that changed. Raises KernelError."""
        events = self._events.receive()
        if events is OVERRUN:
            self.overruns += 1
            self._events.discard()
            self._topology = read_topology(self._requests)
        else:
            for message in events:
                self._topology.apply(message)
        changed = [state for state in self.current() if state != self._told[state.interface]]
        self._told.update({state.interface: state for state in changed})
        return changed

    def _state(self, interface: str) -> LinkState:
        device = self._devices[interface]
        link = self._topology.named(device)
        if link is None:
            return LinkState(interface, device)
        own = [found for found in self._topology.own(link.index) if found.usable]
        # Secondary addresses last: adverts come from the primary one.
        own.sort(key=lambda found: bool(found.flags & rt.IFA_F_SECONDARY))
        ipv4 = tuple(a.address for a in own if isinstance(a.address, IPv4Interface))
        ipv6 = [a.address.ip for a in own if not isinstance(a.address, IPv4Interface)]
        ipv6.sort(key=lambda address: not address.is_link_local)
        linklocal = ipv6[0] if ipv6 and ipv6[0].is_link_local else None
        return LinkState(
            interface,
            device,
            present=True,
            index=link.index,
            mac=link.mac,
            ethernet=link.ethernet,
            up=link.up,
            carrier=link.carrier,
            own_ipv4=ipv4,
            own_ipv6_linklocal=linklocal,
            own_addresses=(*(address.ip for address in ipv4), *ipv6),
        )
