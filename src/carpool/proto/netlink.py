"""Netlink messages and attributes: alignment, nesting, error and extended-ack parsing.

Room: proto. Bytes only: the sockets are in `kernel/netlink.py`. Layouts from the kernel headers
include/uapi/linux/netlink.h; lengths and types are host endian, values are the family's business.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
ATTR = struct.Struct("=HH")  # nlattr: length (header and value, without padding), type
HEADER_LEN = HEADER.size
ATTR_LEN = ATTR.size

NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE, NLMSG_OVERRUN = 1, 2, 3, 4

NLM_F_REQUEST, NLM_F_MULTI, NLM_F_ACK, NLM_F_ECHO = 0x1, 0x2, 0x4, 0x8
NLM_F_DUMP_INTR = 0x10
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
NLM_F_DUMP = 0x300  # ROOT | MATCH
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200  # on NLMSG_ERROR

NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
NLMSGERR_ATTR_MSG = 1


@dataclass(frozen=True, slots=True)
class Message:
    """One netlink message; `body` is all that follows the header."""

    type: int
    flags: int
    sequence: int
    port: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """An NLMSG_ERROR: errno (0: acknowledged), the kernel's own words, and what it answers."""

    errno: int
    text: str
    sequence: int
    request_type: int


def align(length: int) -> int:
    """Round up to the 4 bytes on which messages and attributes start."""
    return (length + 3) & ~3


def attr(type_: int, value: bytes) -> bytes:
    """One attribute, padded."""
    length = ATTR_LEN + len(value)
    return ATTR.pack(length, type_) + value + bytes(align(length) - length)


def nested(type_: int, *attrs: bytes) -> bytes:
    """An attribute that holds others."""
    return attr(type_ | NLA_F_NESTED, b"".join(attrs))


def u8(type_: int, value: int) -> bytes:
    return attr(type_, struct.pack("=B", value))


def u32(type_: int, value: int) -> bytes:
    """An unsigned number in host order, as rtnetlink has them."""
    return attr(type_, struct.pack("=I", value))


def be16(type_: int, value: int) -> bytes:
    """An unsigned number in network order, as netfilter has them."""
    return attr(type_, struct.pack(">H", value))


def be32(type_: int, value: int) -> bytes:
    return attr(type_, struct.pack(">I", value))


def be64(type_: int, value: int) -> bytes:
    return attr(type_, struct.pack(">Q", value))


def string(type_: int, value: str) -> bytes:
    """A string with its terminating zero."""
    return attr(type_, value.encode() + b"\0")


def message(type_: int, flags: int, sequence: int, body: bytes, port: int = 0) -> bytes:
    """A whole message, padded so that several can be joined into one `send`."""
    length = HEADER_LEN + len(body)
    return HEADER.pack(length, type_, flags, sequence, port) + body + bytes(align(length) - length)


def stamped(message_: bytes, flags: int, sequence: int) -> bytes:
    """A message with these flags added to its own, and this sequence number instead of its own."""
    length, type_, had, _sequence, port = HEADER.unpack_from(message_)
    return HEADER.pack(length, type_, had | flags, sequence, port) + message_[HEADER_LEN:]


def messages(data: bytes | memoryview) -> Iterator[Message]:
    """The messages of one datagram. A length that runs past the end ends the walk."""
    offset = 0
    while offset + HEADER_LEN <= len(data):
        length, type_, flags, sequence, port = HEADER.unpack_from(data, offset)
        if length < HEADER_LEN or offset + length > len(data):
            return
        body = bytes(data[offset + HEADER_LEN : offset + length])
        yield Message(type_, flags, sequence, port, body)
        offset += align(length)


def attributes(data: bytes | memoryview, offset: int = 0) -> dict[int, bytes]:
    """The attributes of a body from `offset` on, by type without flags; the last one wins."""
    found: dict[int, bytes] = {}
    while offset + ATTR_LEN <= len(data):
        length, type_ = ATTR.unpack_from(data, offset)
        if length < ATTR_LEN or offset + length > len(data):
            break
        found[type_ & NLA_TYPE_MASK] = bytes(data[offset + ATTR_LEN : offset + length])
        offset += align(length)
    return found


def answer(error: Message) -> Answer:
    """Read an NLMSG_ERROR: nlmsgerr is a negative errno and the header (or all) of the request.

    Only for what a kernel sent: a body too short for a nlmsgerr is a struct.error.
    """
    (code,) = struct.unpack_from("=i", error.body, 0)
    length, request_type, _flags, sequence, _port = HEADER.unpack_from(error.body, 4)
    text = ""
    if error.flags & NLM_F_ACK_TLVS:
        skip = HEADER_LEN if error.flags & NLM_F_CAPPED else align(length)
        raw = attributes(error.body, 4 + skip).get(NLMSGERR_ATTR_MSG, b"")
        text = raw.rstrip(b"\0").decode(errors="replace")
    return Answer(-code, text, sequence, request_type)
