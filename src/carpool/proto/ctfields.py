"""Where the values of a ctnetlink message are: its attributes by name.

Room: proto. Refuses to know what the values mean (`ctmessage.py`, `ctexpect.py`). Numbers and
layouts are those of the kernel headers nfnetlink_conntrack.h and nf_conntrack_common.h in
include/uapi/linux/netfilter. Lengths and types are host endian, values network endian.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum

from carpool.proto import netlink

MSG_NEW, MSG_GET, MSG_DELETE = 0x0100, 0x0101, 0x0102  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT
EXP_NEW, EXP_GET, EXP_DELETE = 0x0200, 0x0201, 0x0202  # the same of expectations
CREATE_FLAGS = netlink.NLM_F_REQUEST | netlink.NLM_F_CREATE | netlink.NLM_F_EXCL
CHANGE_FLAGS = netlink.NLM_F_REQUEST  # update, get and delete
NFGEN = struct.Struct(">BBH")  # nfgenmsg: family, version 0, resource id
BODY_AT = netlink.HEADER_LEN + NFGEN.size
AF_UNSPEC, AF_INET, AF_INET6 = 0, 2, 10
ADDRESS_BYTES = {AF_INET: 4, AF_INET6: 16}


class Cta(IntEnum):
    """The attributes of an entry that we write: enum ctattr_type."""

    TUPLE_ORIG = 1
    TUPLE_REPLY = 2
    STATUS = 3
    PROTOINFO = 4
    HELP = 5
    NAT_SRC = 6
    TIMEOUT = 7
    MARK = 8
    NAT_DST = 13
    MASTER = 14
    SEQADJ_ORIG = 15
    SEQADJ_REPLY = 16
    ZONE = 18
    MARK_MASK = 21  # asks, is never told
    LABELS = 22
    SYNPROXY = 24


# Attributes by their type as it is written, with the flag of those that hold others.
Schema = Mapping[int, "str | tuple[str, Schema]"]
_N = netlink.NLA_F_NESTED
_TCP: Schema = {1: "state", 2: "wscale_orig", 3: "wscale_reply", 4: "flags_orig", 5: "flags_reply"}
_DCCP: Schema = {1: "state", 2: "role", 3: "handshake", 4: "pad"}
_SCTP: Schema = {1: "state", 2: "vtag_orig", 3: "vtag_reply"}
_PROTOINFO: Schema = {_N | 1: ("tcp", _TCP), _N | 2: ("dccp", _DCCP), _N | 3: ("sctp", _SCTP)}
_SEQADJ: Schema = {1: "position", 2: "before", 3: "after"}
_COUNTERS: Schema = {1: "packets", 2: "bytes"}
_SYNPROXY: Schema = {1: "isn", 2: "its", 3: "tsoff"}
_HELP: Schema = {1: "name"}


def _way_schema(addresses: int, icmp: int) -> Schema:
    ip: Schema = {addresses: "src", addresses + 1: "dst"}
    named: Schema = {icmp: "id", icmp + 1: "icmp_type", icmp + 2: "icmp_code"}
    proto: Schema = {1: "protocol", 2: "sport", 3: "dport", **named}
    return {_N | 1: ("ip", ip), _N | 2: ("proto", proto), 3: "zone"}


def _entry_schema(addresses: int, nat_addresses: int, icmp: int) -> Schema:
    """The families differ in the numbers of three groups of attributes, given by their first."""
    way = _way_schema(addresses, icmp)
    ports: Schema = {1: "min_port", 2: "max_port"}
    range_: Schema = {nat_addresses: "min_ip", nat_addresses + 1: "max_ip"}
    nat: Schema = {**range_, _N | 3: ("proto", ports)}
    return {
        **{_N | Cta.TUPLE_ORIG: ("orig", way), _N | Cta.TUPLE_REPLY: ("reply", way)},
        **{_N | Cta.MASTER: ("master", way), _N | Cta.HELP: ("help", _HELP)},
        **{_N | Cta.NAT_SRC: ("nat_src", nat), _N | Cta.NAT_DST: ("nat_dst", nat)},
        **{Cta.STATUS: "status", Cta.TIMEOUT: "timeout", Cta.MARK: "mark", Cta.ZONE: "zone"},
        _N | Cta.PROTOINFO: ("protoinfo", _PROTOINFO),
        _N | Cta.SEQADJ_ORIG: ("seqadj_orig", _SEQADJ),
        _N | Cta.SEQADJ_REPLY: ("seqadj_reply", _SEQADJ),
        _N | Cta.SYNPROXY: ("synproxy", _SYNPROXY),
        Cta.LABELS: "labels",
        **{_N | 9: ("counters_orig", _COUNTERS), _N | 10: ("counters_reply", _COUNTERS)},
        **{11: "use", 12: "id"},
        **{_N | 19: "secctx", _N | 20: "timestamp", 28: "timestamp_event"},
    }


def _expect_schema(addresses: int, _nat_addresses: int, icmp: int) -> Schema:
    """enum ctattr_expect and ctattr_expect_nat."""
    way = _way_schema(addresses, icmp)
    return {
        **{_N | 1: ("master", way), _N | 2: ("tuple", way), _N | 3: ("mask", way)},
        **{4: "timeout", 5: "expect_id", 6: "help_name", 7: "zone", 8: "flags", 9: "class"},
        **{_N | 10: ("nat", {1: "dir", _N | 2: ("tuple", way)}), 11: "function"},
    }


# CTA_IP_V4_SRC, CTA_NAT_V4_MINIP, CTA_PROTO_ICMP_ID; and the same of IPv6.
FIRST = {AF_INET: (1, 1, 4), AF_INET6: (3, 4, 7)}
_ENTRIES = {family: _entry_schema(*first) for family, first in FIRST.items()}
_EXPECTATIONS = {family: _expect_schema(*first) for family, first in FIRST.items()}

_ADDRESSES = frozenset({"src", "dst", "min_ip", "max_ip"})
_SIZES = {
    **{"protocol": 1, "zone": 2, "vtag_orig": 4, "vtag_reply": 4, "role": 1, "handshake": 8},
    **{"sport": 2, "dport": 2, "id": 2, "icmp_type": 1, "icmp_code": 1, "min_port": 2},
    **{"max_port": 2, "state": 1, "wscale_orig": 1, "wscale_reply": 1, "flags_orig": 2},
    **{"flags_reply": 2, "status": 4, "timeout": 4, "mark": 4},
    **{"position": 4, "before": 4, "after": 4, "isn": 4, "its": 4, "tsoff": 4},
    **{"expect_id": 4, "flags": 4, "class": 4, "dir": 4},
}

Fields = dict[str, tuple[int, int]]  # name -> offset and length of the value


def fields(message: bytes) -> Fields | None:
    """Where the values of a message are: "orig.ip.src", "protoinfo.tcp.state", "timeout"...

    Unknown attributes are called `unknown_NUMBER`. None when lengths contradict each other,
    or when an attribute is there twice.
    """
    if len(message) < BODY_AT:
        return None
    length, type_, *_ = netlink.HEADER.unpack_from(message)
    if length != len(message):
        return None
    found: Fields = {}
    schemas = _EXPECTATIONS if type_ >> 8 == EXP_NEW >> 8 else _ENTRIES
    schema = schemas.get(message[netlink.HEADER_LEN], schemas[AF_INET])
    return found if _collect(message, (BODY_AT, len(message)), schema, "", found) else None


def _collect(
    message: bytes, span: tuple[int, int], schema: Schema, prefix: str, found: Fields
) -> bool:
    """The attributes in a span, and those within them; false when a length is off."""
    at, end = span
    while at < end:
        if end - at < netlink.ATTR_LEN:
            return False
        length, type_ = netlink.ATTR.unpack_from(message, at)
        if length < netlink.ATTR_LEN or at + length > end:
            return False
        known = schema.get(type_, f"unknown_{type_}")
        name, inner = (known, None) if isinstance(known, str) else known
        if prefix + name in found:
            return False
        value = at + netlink.ATTR_LEN
        found[prefix + name] = value, length - netlink.ATTR_LEN
        if inner is not None:
            span = value, at + length
            if not _collect(message, span, inner, f"{prefix}{name}.", found):
                return False
        at += netlink.align(length)
    return True


def sizes_fit(found: Fields, family: int) -> bool:
    """Whether every value that we read is as long as it must be."""
    address_bytes = ADDRESS_BYTES.get(family)
    for name, (_at, length) in found.items():
        leaf = name.rpartition(".")[2]
        wanted = address_bytes if leaf in _ADDRESSES else _SIZES.get(leaf, length)
        if length != wanted and name != "id":  # CTA_ID, not the id of ICMP
            return False
    return True


def attribute(value: tuple[int, int]) -> slice:
    """A whole attribute, header and padding, of which this is the value."""
    at, length = value
    return slice(at - netlink.ATTR_LEN, at + netlink.align(length))


def without(request: bytes, *names: str) -> bytes:
    """A request of ours without these attributes."""
    found = fields(request)
    assert found is not None  # we built it, or it has passed the gate
    kept, at = b"", BODY_AT
    for part in sorted((attribute(found[name]) for name in names if name in found), key=_start):
        kept += request[at : part.start]
        at = part.stop
    kept += request[at:]
    _length, type_, flags, sequence, _port = netlink.HEADER.unpack_from(request)
    body = request[netlink.HEADER_LEN : BODY_AT] + kept
    return netlink.message(type_, flags, sequence, body)


def _start(part: slice) -> int:
    start: int = part.start
    return start
