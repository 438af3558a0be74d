"""Frames that tell neighbours where an address lives: gratuitous ARP and neighbour advertisements.

Room: proto. RFC 826, RFC 5227, RFC 4861; bytes only, refuses to know when they are sent.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from carpool.model.config import Address
from carpool.proto.carp import checksum
from carpool.proto.ipheader import (
    BROADCAST_MAC,
    ETHERTYPE_ARP,
    ETHERTYPE_IPV6,
    frame,
    multicast_mac,
)

ALL_NODES = IPv6Address("ff02::1")

_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ARP_ETHERNET, _ARP_REQUEST, _ARP_REPLY = 1, 1, 2
_NO_MAC = bytes(6)
_NO_ADDRESS = IPv4Address(0)

_IPV6 = struct.Struct("!IHBB16s16s")
_PSEUDO = struct.Struct("!16s16sIxxxB")
_ICMPV6, _NEIGHBOUR_ADVERTISEMENT = 58, 136
_ROUTER, _OVERRIDE = 0x80, 0x20  # RFC 4861, 4.4
_TARGET_LINK_LAYER = bytes((2, 1))  # option 2, one unit of 8 bytes


def announcement(mac: bytes, address: Address) -> bytes:
    """The frame with which `mac` takes over `address`, in either family."""
    if address.version == 4:
        return gratuitous_arp(mac, address)
    return neighbour_advertisement(mac, address)


def gratuitous_arp(mac: bytes, address: IPv4Address, *, reply: bool = False) -> bytes:
    """An ARP announcement (RFC 5227, 3). As a request, which is what that RFC asks for, or as the
    reply that some older equipment wants to see."""
    target = mac if reply else _NO_MAC
    return _arp(_ARP_REPLY if reply else _ARP_REQUEST, mac, address, target, address)


def arp_probe(mac: bytes, address: IPv4Address) -> bytes:
    """A question for `address` that changes nobody's ARP cache (RFC 5227, 2.1.1): harmless when
    the address is the sender's own."""
    return _arp(_ARP_REQUEST, mac, _NO_ADDRESS, _NO_MAC, address)


def neighbour_advertisement(mac: bytes, address: IPv6Address) -> bytes:
    """An unsolicited neighbour advertisement to all nodes (RFC 4861, 7.2.6): override, with the
    MAC address, and of a router, which is what holds a VIP."""
    flags = _ROUTER | _OVERRIDE
    head = struct.pack("!BBHBxxx", _NEIGHBOUR_ADVERTISEMENT, 0, 0, flags)
    message = head + address.packed + _TARGET_LINK_LAYER + mac
    pseudo = _PSEUDO.pack(address.packed, ALL_NODES.packed, len(message), _ICMPV6)
    total = checksum(pseudo + message)
    message = message[:2] + total.to_bytes(2, "big") + message[4:]
    packet = _IPV6.pack(6 << 28, len(message), _ICMPV6, 255, address.packed, ALL_NODES.packed)
    return frame(multicast_mac(ALL_NODES), mac, ETHERTYPE_IPV6, packet + message)


def _arp(
    operation: int,
    sender_mac: bytes,
    sender: IPv4Address,
    target_mac: bytes,
    target: IPv4Address,
) -> bytes:
    head = (_ARP_ETHERNET, 0x0800, 6, 4, operation)
    body = _ARP.pack(*head, sender_mac, sender.packed, target_mac, target.packed)
    return frame(BROADCAST_MAC, sender_mac, ETHERTYPE_ARP, body)
