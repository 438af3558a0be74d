"""BFD control packets (RFC 5880): bytes to values and back, and keyed SHA1 authentication.

Room: proto. Knows neither sockets nor the clock nor sessions. Layout, in network byte order:

    0  version << 5 | diagnostic   4  my discriminator       16  required min RX interval, us
    1  state << 6 | P F C A D M    8  your discriminator     20  required min echo RX interval, us
    2  detect multiplier          12  desired min TX, us     24  authentication, if A is set:
    3  length of all of it             type, length 28, key id, 0, sequence (4), SHA1 (20)

The SHA1 is that of the whole packet with the key, padded with zeros, in its place (6.7.4).
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from enum import IntEnum, StrEnum
from typing import NamedTuple

PORT = 3784  # RFC 5881, 4: control packets of a single hop
SOURCE_PORTS = (49152, 65535)  # and where they come from
HOP_LIMIT = 255  # RFC 5881, 5
VERSION = 1
HEAD_BYTES = 24
AUTH_BYTES = 28  # of a section of type 4 or 5
SIGNED_BYTES = HEAD_BYTES + AUTH_BYTES
PACKET_MAX_BYTES = 255  # the length is one byte
KEYED_SHA1, METICULOUS_SHA1 = 4, 5
KEY_BYTES = 20
DETECT_MULT_MAX = 255
SEQUENCES = 1 << 32
WINDOW_MULTS = 3  # a sequence number may be so many detect multipliers ahead

_POLL, _FINAL, _AUTH, _DEMAND, _MULTIPOINT = 0x20, 0x10, 0x04, 0x02, 0x01
_HEAD = struct.Struct("!BBBBIIIII")
_SIGNED = struct.Struct("!BBBBIIIIIBBBBI20s")
_SECTION = struct.Struct("!BBBBI")
_HASH_AT = 32


class SessionState(IntEnum):
    """As on the wire (4.1)."""

    ADMIN_DOWN = 0
    DOWN = 1
    INIT = 2
    UP = 3

    @property
    def text(self) -> str:
        return ("AdminDown", "Down", "Init", "Up")[self]


class Diag(IntEnum):
    """Why a session changed its state (4.1); others may come in, up to 31."""

    NONE = 0
    EXPIRED = 1  # control detection time expired
    ECHO_FAILED = 2
    SIGNALED = 3  # neighbour signalled session down
    FORWARDING_RESET = 4
    PATH_DOWN = 5
    CONCATENATED_DOWN = 6
    ADMIN_DOWN = 7
    REVERSE_CONCATENATED_DOWN = 8


_DIAGNOSTICS = (
    "no diagnostic",
    "control detection time expired",
    "echo function failed",
    "neighbour signalled session down",
    "forwarding plane reset",
    "path down",
    "concatenated path down",
    "administratively down",
    "reverse concatenated path down",
)


def diag_text(diag: int) -> str:
    return _DIAGNOSTICS[diag] if diag < len(_DIAGNOSTICS) else f"diagnostic {diag}"


class BfdReject(StrEnum):
    """Why a packet was dropped, in the order of the checks (5881, 5; 5880, 6.8.6 and 6.7.4); the
    value is the counter's name."""

    TTL = "bad_ttl"  # not 255: it crossed a router, or is forged
    TRUNCATED = "truncated"  # not even a head
    VERSION = "bad_version"
    LENGTH = "bad_length"  # less than a head, or than that and an authentication type
    BEYOND = "length_beyond_packet"
    DETECT_MULT = "detect_mult_zero"
    MULTIPOINT = "multipoint"
    MY_DISCRIMINATOR = "my_discriminator_zero"
    SESSION = "no_such_session"  # your discriminator is none of ours
    SENDER = "wrong_sender"  # it is ours, of a session with another address or interface
    YOUR_DISCRIMINATOR = "your_discriminator_zero"  # in a state that must know it
    PEER = "unknown_peer"  # no session with this address on this interface
    AUTH_UNWANTED = "auth_unwanted"  # signed, where nothing is to be
    AUTH_MISSING = "auth_missing"
    AUTH_TYPE = "auth_type"
    AUTH_KEY = "auth_unknown_key"
    AUTH_LENGTH = "auth_length"
    AUTH_SEQUENCE = "auth_sequence"  # a replay, or from before too many lost ones
    AUTH_DIGEST = "auth_digest"
    ADMIN_DOWN = "admin_down"  # authentic, while this end is administratively down


class Packet(NamedTuple):
    """A control packet whose fields are within their bounds; nothing is known of who sent it."""

    state: SessionState
    diag: int
    detect_mult: int
    my_discriminator: int
    your_discriminator: int
    desired_min_tx_us: int
    required_min_rx_us: int
    required_min_echo_rx_us: int = 0
    poll: bool = False
    final: bool = False
    demand: bool = False
    authenticated: bool = False  # there is a section; whether it is right is for `Verifier`


class Key(NamedTuple):
    """An authentication key and the number by which packets name it."""

    key_id: int  # 0..255
    secret: bytes  # 1..20 bytes

    @property
    def padded(self) -> bytes:
        return self.secret.ljust(KEY_BYTES, b"\0")


def derive_key(secret: bytes, group: str, interface: str, sender: str) -> Key:
    """The key with which node `sender` signs on a link (HKDF with SHA-256, RFC 5869).

    Each direction and link has its own, so that nothing recorded can be sent back or elsewhere. The
    number comes from the key: while a group changes its secret, both are told apart by it.
    """
    salt = b"carpool bfd sha1"
    drawn = hmac.digest(salt, secret, "sha256")
    names = (group.encode(), interface.encode(), sender.encode())
    info = b"".join(len(name).to_bytes(2, "big") + name for name in names)
    made = hmac.digest(drawn, info + b"\x01", "sha256")
    return Key(made[KEY_BYTES], made[:KEY_BYTES])


def build(
    packet: Packet, key: Key | None = None, sequence: int = 0, auth_type: int = METICULOUS_SHA1
) -> bytes:
    """The UDP payload; signed with `key` if there is one."""
    flags = packet.state << 6
    if packet.poll:
        flags |= _POLL
    if packet.final:
        flags |= _FINAL
    if packet.demand:
        flags |= _DEMAND
    first = VERSION << 5 | packet.diag
    if key is None:
        return _HEAD.pack(first, flags, packet.detect_mult, HEAD_BYTES, *packet[3:8])
    keyed = _SIGNED.pack(
        *(first, flags | _AUTH, packet.detect_mult, SIGNED_BYTES, *packet[3:8]),
        *(auth_type, AUTH_BYTES, key.key_id, 0, sequence, key.padded),
    )
    return keyed[:_HASH_AT] + hashlib.sha1(keyed, usedforsecurity=False).digest()


def parse(payload: bytes, hop_limit: int) -> Packet | BfdReject:
    """Read what came after a UDP header. Never raises."""
    if hop_limit != HOP_LIMIT:
        return BfdReject.TTL
    if len(payload) < HEAD_BYTES:
        return BfdReject.TRUNCATED
    first, flags, mult, length, mine, yours, tx_us, rx_us, echo_us = _HEAD.unpack_from(payload)
    if first >> 5 != VERSION:
        return BfdReject.VERSION
    if length < (HEAD_BYTES + 2 if flags & _AUTH else HEAD_BYTES):
        return BfdReject.LENGTH
    if length > len(payload):
        return BfdReject.BEYOND
    if mult == 0:
        return BfdReject.DETECT_MULT
    if flags & _MULTIPOINT:
        return BfdReject.MULTIPOINT
    if mine == 0:
        return BfdReject.MY_DISCRIMINATOR
    state = _STATES[flags >> 6]
    if yours == 0 and state > SessionState.DOWN:
        return BfdReject.YOUR_DISCRIMINATOR
    return Packet(
        *(state, first & 0x1F, mult, mine, yours, tx_us, rx_us, echo_us),
        *(flags & _POLL > 0, flags & _FINAL > 0, flags & _DEMAND > 0, flags & _AUTH > 0),
    )


_STATES = tuple(SessionState)


class Verifier:
    """The receiving side of authentication of one session: keys, and which numbers are new."""

    __slots__ = ("_auth_type", "_keys", "known", "sequence")

    def __init__(self, keys: tuple[Key, ...], auth_type: int = METICULOUS_SHA1) -> None:
        """Several keys count while a group changes its secret; two may bear one number."""
        self._keys = keys
        self._auth_type = auth_type
        self.known = False  # bfd.AuthSeqKnown
        self.sequence = 0  # bfd.RcvAuthSeq

    def check(self, payload: bytes, detect_mult: int) -> BfdReject | None:
        """Judge a packet that `parse` accepted with a section; what is authentic moves the window.

        Unlike the RFC's text, nothing is remembered of a packet before its hash was right.
        """
        auth_type, auth_length = payload[HEAD_BYTES], payload[HEAD_BYTES + 1]
        if auth_type != self._auth_type:
            return BfdReject.AUTH_TYPE
        length = payload[3]
        if length < SIGNED_BYTES:
            return BfdReject.AUTH_LENGTH  # before the key's number, which may not be there
        _type, _length, key_id, _reserved, sequence = _SECTION.unpack_from(payload, HEAD_BYTES)
        keys = [key for key in self._keys if key.key_id == key_id]
        if not keys:
            return BfdReject.AUTH_KEY
        if auth_length != AUTH_BYTES or length != SIGNED_BYTES:
            return BfdReject.AUTH_LENGTH
        if self.known and not self._in_window(sequence, detect_mult):
            return BfdReject.AUTH_SEQUENCE
        if not any(_hash_is_right(payload, key) for key in keys):
            return BfdReject.AUTH_DIGEST
        self.known, self.sequence = True, sequence
        return None

    def forget(self) -> None:
        """Any number counts next (6.8.1: nothing came for twice the detection time)."""
        self.known = False

    def _in_window(self, sequence: int, detect_mult: int) -> bool:
        ahead = (sequence - self.sequence) % SEQUENCES
        least = 1 if self._auth_type == METICULOUS_SHA1 else 0
        return least <= ahead <= WINDOW_MULTS * detect_mult


def _hash_is_right(payload: bytes, key: Key) -> bool:
    found = hashlib.sha1(payload[:_HASH_AT] + key.padded, usedforsecurity=False)
    return hmac.compare_digest(found.digest(), payload[_HASH_AT:SIGNED_BYTES])
