"""Frames between the states processes of two nodes: greeting, events, bulk.

Room: proto. Bytes only; refuses to know sockets, when to send what, and what is inside an event.

    frame  length of the payload (4 bytes), type (1), zero (3), payload
    HELLO  "carpool" 0, version (2), order mark (4), length and text of group and of node name

Everything is in network byte order but the order mark, which is written as the node writes its
netlink headers: two nodes that read it differently cannot use each other's messages.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate

VERSION = 4  # 3: walks have no numbers; 2: tables are not compared; 1: IPv4's TCP, UDP, ICMP only
MAGIC = b"carpool\0"
ORDER_MARK = 0x01020304
EVENTS_MAX_BYTES = 60_000  # what one `send` gives to the kernel; more gains nothing (measured)
FRAME_MAX_BYTES = 128 * 1024
HELLO_MAX_BYTES = 1024  # accepted from somebody who has not said who he is
TEXT_MAX_BYTES = 255
ASK_MAX_BYTES = 8
_TLS_MIN, _TLS_MAX = 20, 23  # how a record begins, then major version 3: RFC 8446 5.1

_HEADER = struct.Struct(">IB3s")
_HELLO = struct.Struct(">8sH4s")
_ORDER = struct.Struct("=I")


class Kind(IntEnum):
    """What a frame is for."""

    HELLO = 1
    REFUSE = 2  # payload: why, for people; the sender closes after it
    EVENTS = 3  # payload: netlink requests, ready for the kernel
    BULK_BEGIN = 4  # from here to BULK_END: the whole table of the sender, among its events
    BULK = 5  # payload as of EVENTS
    BULK_END = 6
    KEEPALIVE = 7
    # Comparing the tables; the payloads are in statecheck.py.
    WALK = 8
    CHECK = 9
    CHECKED = 10
    WALKED = 11
    TABLE = 12
    LABELS = 20  # payload: the sender's names of labels (ctlabels.py)
    ACK = 21  # everything before this ASK is in the kernel; payload: that of the ASK
    ASK = 22  # payload: a number of 8 bytes, to be sent back as ACK (machine/meter.py, Questions)


_KINDS = {int(kind): kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class Frame:
    kind: Kind
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Hello:
    """The first frame in both directions."""

    group: str
    node: str
    version: int = VERSION
    same_order: bool = True  # the sender writes numbers as we do


@dataclass(frozen=True, slots=True)
class Broken:
    """Bytes that are no frames: the stream is of no more use."""

    reason: str


def build(kind: Kind, payload: bytes = b"") -> bytes:
    """One frame. The payload is at most FRAME_MAX_BYTES long."""
    assert len(payload) <= FRAME_MAX_BYTES, len(payload)
    return _HEADER.pack(len(payload), kind, b"\0\0\0") + payload


def batches(requests: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Requests in lists of EVENTS_MAX_BYTES at most."""
    ends = list(accumulate(map(len, requests)))
    start = size = 0
    while start < len(ends):
        stop = max(start + 1, bisect_right(ends, size + EVENTS_MAX_BYTES, start))
        yield requests[start:stop]
        start, size = stop, ends[stop - 1]


def payloads(requests: Sequence[bytes]) -> Iterator[tuple[bytes, int]]:
    """The same, joined, each with the number of its requests."""
    for batch in batches(requests):
        yield b"".join(batch), len(batch)


def build_hello(group: str, node: str) -> bytes:
    """The HELLO of this machine. Names longer than 255 bytes are cut."""
    texts = (text.encode()[:TEXT_MAX_BYTES] for text in (group, node))
    head = _HELLO.pack(MAGIC, VERSION, _ORDER.pack(ORDER_MARK))
    return build(Kind.HELLO, head + b"".join(bytes((len(text),)) + text for text in texts))


def parse_hello(payload: bytes) -> Hello | Broken:
    """Checked in this order: length, magic, version, order mark, texts. Of another version nothing
    but its number is read."""
    if len(payload) < _HELLO.size:
        return Broken(f"a HELLO of {len(payload)} bytes, expected {_HELLO.size} at least")
    magic, version, order = _HELLO.unpack_from(payload)
    if magic != MAGIC:
        return Broken(f"magic {magic!r}, expected {MAGIC!r}: not a carpool states process")
    if version != VERSION:
        return Hello("", "", version)
    texts: list[str] = []
    at = _HELLO.size
    for _ in range(2):
        end = at + 1 + payload[at] if at < len(payload) else at
        if at >= len(payload) or end > len(payload):
            return Broken("a HELLO that ends within its names")
        texts.append(payload[at + 1 : end].decode(errors="replace"))
        at = end
    group, node = texts
    return Hello(group, node, version, same_order=order == _ORDER.pack(ORDER_MARK))


class Parser:
    """Cuts a byte stream into frames. Holds one unfinished frame and one `feed` at most, provided
    that the caller takes all frames out before it feeds more."""

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0
        self._limit = HELLO_MAX_BYTES
        self._broken: Broken | None = None

    def trust(self) -> None:
        """The other side has said who it is: from now on frames may be of full size."""
        self._limit = FRAME_MAX_BYTES

    def feed(self, data: bytes) -> None:
        """Bytes as they come, in pieces of any size."""
        self._buffer = self._buffer[self._at :] + data
        self._at = 0

    def next(self) -> Frame | Broken | None:
        """The next whole frame; None: feed more; `Broken` from the first impossible header on."""
        if self._broken is not None:
            return self._broken
        start = self._at + _HEADER.size
        if start > len(self._buffer):
            return None
        length, number, zero = _HEADER.unpack_from(self._buffer, self._at)
        kind = _KINDS.get(number)
        if kind is None or zero != b"\0\0\0":
            begins = self._buffer[self._at : start]
            if _TLS_MIN <= begins[0] <= _TLS_MAX and begins[1] == 3:
                return self._break('it speaks TLS: is encryption = "tls" in its group.toml?')
            return self._break(f"no frame starts with {begins.hex()}")
        if length > self._limit:
            return self._break(f"{kind.name} of {length} bytes, expected {self._limit} at most")
        if start + length > len(self._buffer):
            return None
        self._at = start + length
        return Frame(kind, self._buffer[start : self._at])

    def _break(self, reason: str) -> Broken:
        self._broken = Broken(reason)
        self._buffer = b""
        self._at = 0
        return self._broken
