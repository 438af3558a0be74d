"""Sends and receives advertisements on a packet socket: below the firewall's rules and conntrack.

Room: kernel. Frames in and out of one device; refuses to know who is master or whether an advert is
genuine. Why packet sockets: docs/decisions/0020-packet-sockets.md.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from carpool.errors import KernelError
from carpool.kernel.links import LinkState
from carpool.kernel.neighbours import Neighbours
from carpool.model.config import Address, Family, MacMode, Vip
from carpool.proto import announce, bpf
from carpool.proto import ipheader as ip
from carpool.proto.carp import PROTOCOL

PACKETS_MAX = 64
RECEIVE_BUFFER_BYTES = 1024 * 1024  # about a thousand adverts

# include/uapi/linux/if_packet.h, include/uapi/asm-generic/socket.h, include/linux/pkt_sched.h
_ETH_P_ALL = 0x0003
_SOL_PACKET = 263
_PACKET_ADD_MEMBERSHIP, _PACKET_QDISC_BYPASS, _PACKET_IGNORE_OUTGOING = 1, 20, 23
_PACKET_MR_MULTICAST = 0
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE, _SO_BINDTOIFINDEX = 26, 33, 62
_TC_PRIO_CONTROL = 7


@dataclass(frozen=True, slots=True)
class Received:
    """An IP packet of protocol 112; nothing in it has been checked but that it is one."""

    interface: str  # logical name
    source: Address
    hop_limit: int
    payload: bytes  # all that follows the IP header


class AdvertSocket:
    """All advertisements of one device, and announcements out of it; a file to poll.

    Bound to the device's index: for a device that comes back with another one, make another.
    Sending never waits, and tells what went wrong as text (None: sent): the engine's SendResult.
    """

    def __init__(self, state: LinkState, vips: Sequence[Vip] = ()) -> None:
        """`vips`: those of the interface, whose neighbours' questions the device is to get.

        Raises KernelError: the device is gone or no Ethernet, or this is not root.
        """
        if not state.ethernet:
            raise KernelError(
                f"device {state.device} is not an Ethernet device",
                hint="CARP needs Ethernet: name another device in node.toml",
            )
        self.interface = state.interface
        self.index = state.index
        self.counters: Counter[str] = Counter()  # frames that were no packets, by IpReject
        self.not_joined: dict[Address, str] = {}  # multicast groups, and why not
        self._state = state
        self._identification = 0
        self._neighbours = Neighbours(state.index)
        self._routed: dict[Family, socket.socket] = {}
        self._members: list[socket.socket] = []
        self._joined: dict[Address, socket.socket] = {}  # where neighbours ask for VIPs
        try:
            self._socket = packet_socket(state.index)
        except OSError as error:
            self._neighbours.close()
            raise KernelError(
                f"open a packet socket on {state.device}: {_why(error)}",
                hint="this needs root, or CAP_NET_RAW" if error.errno == errno.EPERM else "",
            ) from error
        for family in Family:
            self._open(family)
        self.follow(vips)

    def fileno(self) -> int:
        return self._socket.fileno()

    def update(self, state: LinkState) -> None:
        """Follow the device's MAC and own addresses; the index must be the same."""
        assert state.index == self.index
        self._state = state

    def follow(self, vips: Sequence[Vip]) -> None:
        """These are the VIPs of the interface now."""
        wanted = _questions(vips)
        for group in [known for known in self._joined if known not in wanted]:
            self._joined.pop(group).close()
        self.not_joined.clear()
        for group in wanted:
            if group not in self._joined:
                self._join(group)

    def close(self) -> None:
        self._neighbours.close()
        for opened in (
            self._socket,
            *self._members,
            *self._joined.values(),
            *self._routed.values(),
        ):
            opened.close()

    # -------------------------------------------------------------------------------- receive

    def receive(self, packets_max: int = PACKETS_MAX) -> list[Received]:
        """Packets that are waiting, at most so many. Never raises for anything that came in."""
        found = []
        for _packet in range(packets_max):
            try:
                frame = self._socket.recv(bpf.SNAP_BYTES)
            except BlockingIOError:
                break
            except OSError:  # the device was set down or removed; LinkMonitor tells
                self.counters["receive_errors"] += 1
                break
            packet = ip.parse(frame, PROTOCOL)
            if isinstance(packet, ip.IpReject):
                self.counters[packet] += 1
                continue
            found.append(Received(self.interface, packet.source, packet.hop_limit, packet.payload))
        return found

    # ----------------------------------------------------------------------------------- send

    def send(
        self,
        family: Family,
        payload: bytes,
        *,
        source: Address,
        destinations: Sequence[Address] | None = None,
        vhid: int | None = None,
    ) -> str | None:
        """Send an advertisement to the multicast group, or to unicast `destinations`.

        From the virtual MAC of `vhid`, so that switches keep learning where it lives, or with None
        from the device's own. One destination that fails does not keep it from the others.
        """
        mac = self._state.mac if vhid is None else ip.virtual_mac(vhid)
        errors = []
        for destination in (ip.group_of(family),) if destinations is None else destinations:
            self._identification += 1
            packet = ip.build(source, destination, PROTOCOL, payload, self._identification)
            error = self._send_packet(family, packet, destination, mac)
            if error:
                errors.append(error if destinations is None else f"to {destination}: {error}")
        return "; ".join(errors) or None

    def announce(self, vip: Vip) -> str | None:
        """Tell all neighbours that the addresses of `vip` live here (proto/announce.py)."""
        virtual = vip.mac is MacMode.VIRTUAL
        mac = ip.virtual_mac(vip.vhid) if virtual else self._state.mac
        errors = [self.send_raw(announce.announcement(mac, own.ip)) for own in vip.addresses]
        return next(filter(None, errors), None)

    def probe(self) -> str | None:
        """Send a frame that changes nothing anywhere, to learn whether sending works."""
        own = self._state.own_ipv4
        # Without an IPv4 address: a question for 0.0.0.0, which nobody has.
        address = own[0].ip if own else IPv4Address(0)
        return self.send_raw(announce.arp_probe(self._state.mac, address))

    def send_raw(self, frame: bytes) -> str | None:
        """Send a whole Ethernet frame.

        The queue of the device (a traffic shaper) may refuse it; then it goes once more, around the
        queue. Around it from the start it would be invisible to tcpdump. What a netdev egress rule
        drops is dropped on either way, and an error.
        """
        try:
            self._socket.send(frame)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                return _why(error)
            self.counters["bypassed"] += 1
            return self._send_around_queue(frame)
        return None

    # -------------------------------------------------------------------------------- private

    def _send_packet(
        self, family: Family, packet: bytes, destination: Address, source_mac: bytes
    ) -> str | None:
        if destination.is_multicast:
            mac: bytes | None = ip.multicast_mac(destination)
        else:
            mac = self._neighbours.mac(destination)
        if mac is None:
            return self._send_routed(family, packet, destination)
        ether_type = ip.ETHERTYPE_IPV4 if family is Family.IPV4 else ip.ETHERTYPE_IPV6
        return self.send_raw(ip.frame(mac, source_mac, ether_type, packet))

    def _send_around_queue(self, frame: bytes) -> str | None:
        try:
            self._socket.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
            try:
                self._socket.send(frame)
            finally:
                self._socket.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 0)
        except OSError as error:
            return _why(error)
        return None

    def _send_routed(self, family: Family, packet: bytes, destination: Address) -> str | None:
        """Let the kernel resolve the neighbour and queue the packet: for the first ones only, since
        rules and connection tracking see them, and they come from the device's own MAC."""
        self.counters["routed"] += 1
        if family not in self._routed:
            return os.strerror(errno.EAFNOSUPPORT)
        scope = (0, 0, self.index) if family is Family.IPV6 else (0,)
        try:
            self._routed[family].sendto(packet, (str(destination), *scope))
        except OSError as error:
            return _why(error)
        return None

    def _open(self, family: Family) -> None:
        """What else a family needs; a device on which it is switched off has no addresses of it."""
        try:
            self._routed[family] = _raw_socket(family, self.index)
            self._members.append(member(ip.group_of(family), self.index))
        except OSError:
            self.counters[f"no_{family}"] += 1

    def _join(self, group: Address) -> None:
        try:
            self._joined[group] = member(group, self.index)
        except OSError as error:
            self.not_joined[group] = _why(error)


def packet_socket(index: int, protocol: int = PROTOCOL) -> socket.socket:
    """A packet socket that gets adverts of one device: bound last, so that nothing else slips in.

    For all protocols, although IP is all we want: taps of one protocol come after the rules of a
    netdev chain, taps of all come before.
    """
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    try:
        made.setblocking(False)
        attach(made, bpf.advert_filter(protocol))
        # Or every packet that the firewall forwards would be copied for our filter to refuse.
        made.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, _TC_PRIO_CONTROL)
        for family in Family:
            mac = ip.multicast_mac(ip.group_of(family))
            request = struct.pack("=iHH8s", index, _PACKET_MR_MULTICAST, len(mac), mac)
            made.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, request)
        made.bind((socket.if_indextoname(index), _ETH_P_ALL))
    except OSError:
        made.close()
        raise
    return made


def attach(made: socket.socket, program: bytes) -> None:
    """SO_ATTACH_FILTER takes a struct sock_fprog: a count, and where the instructions are."""
    instructions = array("B", program)  # an object of which Python tells the address
    where, length = instructions.buffer_info()
    made.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", length // 8, where))


def _raw_socket(family: Family, index: int) -> socket.socket:
    """For whole IP packets (IPPROTO_RAW: the header is ours), routed out of one device; such a
    socket receives nothing."""
    kind = socket.AF_INET if family is Family.IPV4 else socket.AF_INET6
    made = socket.socket(kind, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, _SO_BINDTOIFINDEX, index)
    except OSError:
        made.close()
        raise
    return made


def _questions(vips: Sequence[Vip]) -> list[IPv6Address]:
    """The groups in which neighbours ask for the IPv6 addresses of virtual MACs. The device joins
    them, on the backup too: its reports come from its own MAC, while those of a macvlan, which
    are dropped (proto/ingresstable.py), would tell switches where the virtual MAC lives."""
    virtual = [vip for vip in vips if vip.mac is MacMode.VIRTUAL]
    addresses = [own.ip for vip in virtual for own in vip.addresses]
    groups = {ip.solicited_node(own) for own in addresses if isinstance(own, IPv6Address)}
    return sorted(groups)


def member(group: Address, index: int) -> socket.socket:
    """Membership of a group, for switches that snoop on IGMP and MLD. The socket is not bound to
    a port: nothing is delivered to it. One a group: the kernel bounds the groups of a socket."""
    kind = socket.AF_INET if group.version == 4 else socket.AF_INET6
    made = socket.socket(kind, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        if group.version == 4:
            where = struct.pack("=4s4si", group.packed, bytes(4), index)
            made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, where)
        else:
            where = struct.pack("=16si", group.packed, index)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, where)
    except OSError:
        made.close()
        raise
    return made


def _why(error: OSError) -> str:
    code = error.errno or 0
    return f"{os.strerror(code)} [{errno.errorcode.get(code, str(code))}]"
