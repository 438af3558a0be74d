"""CARP version 2 advertisements: bytes to values and back, checksum and digest.

Room: proto. Knows neither sockets nor the clock nor who is master. Layout and digest as in FreeBSD
sys/netinet/ip_carp.h and ip_carp.c; everything is in network byte order:

    0  version << 4 | type     4  demote (OpenBSD) or 0    8  counter, 8 bytes
    1  vhid                    5  advbase, seconds        16  HMAC-SHA1, 20 bytes
    2  advskew, 1/256 s        6  checksum over these 36 bytes
    3  authlen, 7 words
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from carpool.model.config import Address
from carpool.model.reject import Reject

PROTOCOL = 112  # IANA: VRRP's number, which CARP shares
HOP_LIMIT = 255  # RFC 5082's trick: a packet that crossed a router arrives with less
LENGTH = 36
VERSION_TYPE = 0x21  # version 2, type 1: advertisement
AUTH_WORDS = 7  # counter and digest in 32-bit words
LEAVING_ADVSKEW = 255  # "I am leaving": no node is configured with it

_PACKET = struct.Struct("!BBBBBBH8s20s")
_KEY_BYTES = 20  # the password, zero padded (CARP_KEY_LEN)
_DIGEST_PREFIX = struct.Struct("!BBB")


@dataclass(frozen=True, slots=True)
class Advert:
    """An advertisement. All fields but the counter travel unauthenticated: the digest covers
    version, type, VHID, the addresses and the counter."""

    vhid: int
    advbase_s: int
    advskew: int  # 1/256 s, after demotion; 255: leaving
    demote: int  # how badly demoted, 0..255; 0 from FreeBSD and UCarp
    counter: int  # 64 bit
    digest: bytes  # 20 bytes

    @property
    def leaving(self) -> bool:
        return self.advskew == LEAVING_ADVSKEW


class Signer:
    """Signs and verifies for one VHID, one password and one set of addresses.

    The key schedule and the constant head of the message are computed once: what is left per
    packet is 8 bytes of HMAC.
    """

    __slots__ = ("_prepared",)

    def __init__(self, vhid: int, password: bytes, addresses: Iterable[Address]) -> None:
        self._prepare(vhid, password, signed_addresses(addresses))

    @classmethod
    def over(cls, vhid: int, password: bytes, signed: bytes) -> Self:
        """For addresses that are in the form of `signed_addresses` already."""
        signer = cls.__new__(cls)
        signer._prepare(vhid, password, signed)
        return signer

    def _prepare(self, vhid: int, password: bytes, signed: bytes) -> None:
        key = password[:_KEY_BYTES].ljust(_KEY_BYTES, b"\0")
        self._prepared = hmac.new(key, _DIGEST_PREFIX.pack(2, 1, vhid), hashlib.sha1)
        self._prepared.update(signed)

    def digest(self, counter: int) -> bytes:
        mac = self._prepared.copy()
        mac.update(counter.to_bytes(8, "big"))
        return mac.digest()

    def verify(self, advert: Advert) -> bool:
        return hmac.compare_digest(self.digest(advert.counter), advert.digest)


def signed_addresses(addresses: Iterable[Address]) -> bytes:
    """The addresses as the digest takes them: IPv4 ascending, then IPv6 ascending.

    FreeBSD clears the embedded scope of link-local addresses, so a zone index is not signed.
    """
    unique = set(addresses)
    ipv4 = sorted(a.packed for a in unique if a.version == 4)
    ipv6 = sorted(a.packed for a in unique if a.version == 6)
    return b"".join(ipv4 + ipv6)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071); 0 over data that carries its own correct checksum."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def build(
    signer: Signer, *, vhid: int, advbase_s: int, advskew: int, demote: int, counter: int
) -> bytes:
    """The 36 bytes after the IP header, signed and with their checksum.

    The checksum has no pseudo header, on IPv6 as on IPv4.
    """
    counter_bytes, digest = counter.to_bytes(8, "big"), signer.digest(counter)
    head = (VERSION_TYPE, vhid, advskew, AUTH_WORDS, demote, advbase_s)
    blank = _PACKET.pack(*head, 0, counter_bytes, digest)
    return _PACKET.pack(*head, checksum(blank), counter_bytes, digest)


def parse(payload: bytes, hop_limit: int) -> Advert | Reject:
    """Read what came after an IP header. Never raises; the digest is the caller's to verify."""
    if hop_limit != HOP_LIMIT:
        return Reject.TTL
    if len(payload) != LENGTH:
        return Reject.LENGTH
    version_type, vhid, advskew, authlen, demote, advbase_s, _sum, counter, digest = _PACKET.unpack(
        payload
    )
    if checksum(payload) != 0:
        return Reject.CHECKSUM
    if version_type != VERSION_TYPE:
        return Reject.VERSION
    if authlen != AUTH_WORDS:
        return Reject.LENGTH
    if vhid == 0:
        return Reject.VHID
    if advbase_s == 0:
        return Reject.ADVBASE
    return Advert(vhid, advbase_s, advskew, demote, int.from_bytes(counter, "big"), digest)
