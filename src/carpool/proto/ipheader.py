"""Ethernet and IP headers of advertisements: built for packet sockets, and read from them.

Room: proto. Below the kernel's IP stack, so every check that the stack would make is made here:
RFC 791 and RFC 8200. Refuses to know what a payload means.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address

from carpool.model.config import Address, Family
from carpool.proto.carp import checksum

ETHERNET = struct.Struct("!6s6sH")  # destination, source, ether type
ETHERTYPE_IPV4, ETHERTYPE_ARP, ETHERTYPE_IPV6 = 0x0800, 0x0806, 0x86DD
BROADCAST_MAC = b"\xff" * 6

GROUP_IPV4 = IPv4Address("224.0.0.18")  # RFC 5798, 5.1.1.2: VRRP's, which CARP shares
GROUP_IPV6 = IPv6Address("ff02::12")
_SOLICITED_NODE = IPv6Address("ff02::1:ff00:0").packed[:13]

_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_DONT_FRAGMENT = 0x4000
_FRAGMENTED = 0x3FFF  # more fragments, or an offset
_TOS_LOW_DELAY = 0x10  # RFC 1349, what carp(4) sends


class IpReject(StrEnum):
    """Why a captured frame is no packet; the value is the counter's name."""

    TRUNCATED = "ip_truncated"  # shorter than its headers
    VERSION = "ip_version"  # neither 4 nor 6, or not what the ether type says
    CHECKSUM = "ip_checksum"
    FRAGMENT = "ip_fragment"  # 36 bytes fit everywhere: nobody has a reason to fragment them
    PROTOCOL = "ip_protocol"  # another one


@dataclass(frozen=True, slots=True)
class IpPacket:
    """An IP packet as it came in; `payload` is all that follows the IP header."""

    source: Address
    destination: Address
    hop_limit: int
    payload: bytes


def virtual_mac(vhid: int) -> bytes:
    """The MAC address of a VHID, 1..255: the block that RFC 5798 (7.3) gave to virtual routers."""
    return bytes((0x00, 0x00, 0x5E, 0x00, 0x01, vhid))


def mac_text(mac: bytes) -> str:
    """`00:00:5e:00:01:33`."""
    return mac.hex(":")


def multicast_mac(group: Address) -> bytes:
    """Where frames to a multicast address go (RFC 1112, 6.4; RFC 2464, 7)."""
    if group.version == 4:
        low = int.from_bytes(group.packed, "big") & 0x7FFFFF
        return b"\x01\x00\x5e" + low.to_bytes(3, "big")
    return b"\x33\x33" + group.packed[12:]


def solicited_node(address: IPv6Address) -> IPv6Address:
    """The multicast group in which neighbours ask for an address (RFC 4291, 2.7.1)."""
    return IPv6Address(_SOLICITED_NODE + address.packed[13:])


def group_of(family: Family) -> Address:
    """The multicast group of advertisements."""
    return GROUP_IPV4 if family is Family.IPV4 else GROUP_IPV6


def frame(destination: bytes, source: bytes, ether_type: int, payload: bytes) -> bytes:
    """An Ethernet frame without padding, which the device adds."""
    return ETHERNET.pack(destination, source, ether_type) + payload


def build(
    source: Address, destination: Address, protocol: int, payload: bytes, identification: int = 0
) -> bytes:
    """An IP packet with hop limit 255, low delay, not to be fragmented; both of one family."""
    if source.version == 6:
        low_delay = 6 << 28 | _TOS_LOW_DELAY << 20
        return (
            _IPV6.pack(low_delay, len(payload), protocol, 255, source.packed, destination.packed)
            + payload
        )
    head = [0x45, _TOS_LOW_DELAY, _IPV4.size + len(payload), identification & 0xFFFF]
    tail = [_DONT_FRAGMENT, 255, protocol]
    ends = [source.packed, destination.packed]
    total = checksum(_IPV4.pack(*head, *tail, 0, *ends))
    return _IPV4.pack(*head, *tail, total, *ends) + payload


def parse(frame_: bytes, protocol: int) -> IpPacket | IpReject:
    """Read a captured Ethernet frame (cut at its end, perhaps). Never raises.

    IPv6 extension headers are not followed: an advertisement has none.
    """
    if len(frame_) < ETHERNET.size:
        return IpReject.TRUNCATED
    ether_type = ETHERNET.unpack_from(frame_)[2]
    if ether_type == ETHERTYPE_IPV4:
        return _parse_ipv4(frame_[ETHERNET.size :], protocol)
    if ether_type == ETHERTYPE_IPV6:
        return _parse_ipv6(frame_[ETHERNET.size :], protocol)
    return IpReject.VERSION


def _parse_ipv4(packet: bytes, protocol: int) -> IpPacket | IpReject:
    if len(packet) < _IPV4.size:
        return IpReject.TRUNCATED
    first, _tos, length, _id, fragment, ttl, carried, _sum, source, destination = _IPV4.unpack_from(
        packet
    )
    header = (first & 0x0F) * 4
    if first >> 4 != 4:
        return IpReject.VERSION
    if header < _IPV4.size or length < header or len(packet) < header:
        return IpReject.TRUNCATED
    if checksum(packet[:header]):
        return IpReject.CHECKSUM
    if fragment & _FRAGMENTED:
        return IpReject.FRAGMENT
    if carried != protocol:
        return IpReject.PROTOCOL
    # Up to the IP length: what follows is the padding of a short frame.
    return IpPacket(IPv4Address(source), IPv4Address(destination), ttl, packet[header:length])


def _parse_ipv6(packet: bytes, protocol: int) -> IpPacket | IpReject:
    if len(packet) < _IPV6.size:
        return IpReject.TRUNCATED
    first, length, carried, hop_limit, source, destination = _IPV6.unpack_from(packet)
    if first >> 28 != 6:
        return IpReject.VERSION
    if carried != protocol:
        return IpReject.PROTOCOL
    payload = packet[_IPV6.size : _IPV6.size + length]
    return IpPacket(IPv6Address(source), IPv6Address(destination), hop_limit, payload)
