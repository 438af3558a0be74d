"""BFD's datagrams as whole Ethernet frames, for packet sockets: below the rules of the firewall.

Room: proto. Headers only, built once for a session; refuses to know what BFD says. The checks that
the kernel's own stack would make are made here, but for UDP's checksum: devices fill it in later
than a packet socket looks, and what counts is signed.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from carpool.model.config import Address
from carpool.proto import bfd
from carpool.proto import ipheader as ip
from carpool.proto.carp import checksum

UDP = 17
CONTROL_TOS = 0xC0  # RFC 2474's internetwork control, as FRR marks its own

_UDP_HEAD = struct.Struct("!HHHH")
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_DONT_FRAGMENT = 0x4000


class Datagram(NamedTuple):
    """What came to port 3784; nothing in it has been checked. `source`: packed."""

    source: bytes
    hop_limit: int
    payload: bytes


def build(
    macs: tuple[bytes, bytes], source: Address, peer: Address, port: int, payload: bytes
) -> bytes:
    """A frame from our `port` to the peer's 3784, hop limit 255. `macs`: the peer's, and ours."""
    length = _UDP_HEAD.size + len(payload)
    if peer.version == 4:
        # Without a checksum of its own, which IPv4 allows (RFC 768).
        udp = _UDP_HEAD.pack(port, bfd.PORT, length, 0) + payload
        head = [0x45, CONTROL_TOS, _IPV4.size + length, 0, _DONT_FRAGMENT, bfd.HOP_LIMIT, UDP]
        ends = source.packed, peer.packed
        packet = _IPV4.pack(*head, checksum(_IPV4.pack(*head, 0, *ends)), *ends) + udp
        return ip.frame(*macs, ip.ETHERTYPE_IPV4, packet)
    pseudo = source.packed + peer.packed + struct.pack("!II", length, UDP)
    blank = _UDP_HEAD.pack(port, bfd.PORT, length, 0) + payload
    even = pseudo + blank + b"\0" * (len(blank) % 2)
    udp = _UDP_HEAD.pack(port, bfd.PORT, length, checksum(even) or 0xFFFF) + payload
    first = 6 << 28 | CONTROL_TOS << 20
    packet = _IPV6.pack(first, length, UDP, bfd.HOP_LIMIT, source.packed, peer.packed) + udp
    return ip.frame(*macs, ip.ETHERTYPE_IPV6, packet)


def parse(frame: bytes) -> Datagram | None:
    """What is in a frame that `bpf.udp_filter` let through; None if its headers do not hold."""
    ether_type = frame[12:14]
    if ether_type == b"\x08\x00":
        return _of_ipv4(frame)
    return _of_ipv6(frame) if ether_type == b"\x86\xdd" else None


def _of_ipv4(frame: bytes) -> Datagram | None:
    header = (frame[14] & 0x0F) * 4 if len(frame) > 14 else 0
    begin = 14 + header
    if header < _IPV4.size or frame[14] >> 4 != 4 or len(frame) < begin + _UDP_HEAD.size:
        return None
    total = int.from_bytes(frame[16:18], "big")
    if checksum(frame[14:begin]) or frame[23] != UDP or total < header:
        return None
    # An offset or more fragments: not one of BFD's.
    if int.from_bytes(frame[20:22], "big") & 0x3FFF:
        return None
    return _of_udp(frame[begin : 14 + total], frame[26:30], frame[22])


def _of_ipv6(frame: bytes) -> Datagram | None:
    begin = 14 + _IPV6.size
    if len(frame) < begin + _UDP_HEAD.size or frame[14] >> 4 != 6 or frame[20] != UDP:
        return None
    length = int.from_bytes(frame[18:20], "big")
    return _of_udp(frame[begin : begin + length], frame[22:38], frame[21])


def _of_udp(datagram: bytes, source: bytes, hop_limit: int) -> Datagram | None:
    if len(datagram) < _UDP_HEAD.size:
        return None
    _from, to, length, _checksum = _UDP_HEAD.unpack_from(datagram)
    if to != bfd.PORT or not _UDP_HEAD.size <= length <= len(datagram):
        return None
    return Datagram(source, hop_limit, datagram[_UDP_HEAD.size : length])
