"""ctnetlink messages by full parse: events and dumps to values, values to requests for a peer.

Room: proto. The reference for `ctpatch.py`, and its slow path; refuses to know sockets, frames and
who is master. Numbers and layouts are those of the kernel headers nfnetlink_conntrack.h,
nf_conntrack_common.h and nf_conntrack_tcp.h in include/uapi/linux/netfilter. What must change on
the way between two nodes, and why, is in docs/decisions/0023-connection-state.md.

Lengths and types are host endian, values network endian: bytes of a node of the other byte order
are refused when two nodes greet each other (`statestream.py`).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum

from carpool.proto import netlink

MSG_NEW, MSG_GET, MSG_DELETE = 0x0100, 0x0101, 0x0102  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT
CREATE_FLAGS = netlink.NLM_F_REQUEST | netlink.NLM_F_CREATE | netlink.NLM_F_EXCL
CHANGE_FLAGS = netlink.NLM_F_REQUEST  # update, get and delete
NFGEN = struct.Struct(">BBH")  # nfgenmsg: family, version 0, resource id
BODY_AT = netlink.HEADER_LEN + NFGEN.size
AF_UNSPEC, AF_INET, AF_INET6 = 0, 2, 10
ADDRESS_BYTES = {AF_INET: 4, AF_INET6: 16}
IP_ICMP, IP_TCP, IP_UDP, IP_DCCP = 1, 6, 17, 33
IP_GRE, IP_ICMPV6, IP_SCTP, IP_UDPLITE = 47, 58, 132, 136
ICMPS = frozenset({IP_ICMP, IP_ICMPV6})
# With two ports (GRE: keys), and "assured" in their lives; all others have neither.
LASTING = frozenset({IP_TCP, IP_UDP, IP_DCCP, IP_GRE, IP_SCTP, IP_UDPLITE})

SEEN_REPLY, ASSURED, CONFIRMED = 0x2, 0x4, 0x8  # enum ip_conntrack_status
TCP_SYN_RECV, TCP_ESTABLISHED, TCP_TIME_WAIT, TCP_CLOSE = 2, 3, 7, 8  # enum tcp_conntrack
WINDOW_SCALE, SACK_PERM, CLOSE_INIT, BE_LIBERAL = 0x01, 0x02, 0x04, 0x08  # IP_CT_TCP_FLAG_*

# An established flow makes no events: its copy must outlive a silence of the flow, and is renewed
# long before (machine/replica.py, Renewal). One whose original is gone without a word ends
# with it: what is not renewed is no more. TCP's other states are short-lived on both nodes.
QUIET_TIMEOUT_S = 3600

# A query's type and its answer's: invmap of nf_conntrack_proto_icmp.c and _icmpv6.c.
ICMP_ANSWER = {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17}
ICMPV6_ANSWER = {128: 129, 129: 128, 139: 140, 140: 139}
_ANSWERS = {IP_ICMP: ICMP_ANSWER, IP_ICMPV6: ICMPV6_ANSWER}


class Cta(IntEnum):
    """The attributes of an entry that we write: enum ctattr_type."""

    TUPLE_ORIG = 1
    TUPLE_REPLY = 2
    STATUS = 3
    PROTOINFO = 4
    NAT_SRC = 6
    TIMEOUT = 7
    MARK = 8
    NAT_DST = 13
    ZONE = 18
    MARK_MASK = 21  # asks, is never told


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


def _entry_schema(addresses: int, nat_addresses: int, icmp: int) -> Schema:
    """The families differ in the numbers of three groups of attributes, given by their first."""
    ip: Schema = {addresses: "src", addresses + 1: "dst"}
    named: Schema = {icmp: "id", icmp + 1: "icmp_type", icmp + 2: "icmp_code"}
    proto: Schema = {1: "protocol", 2: "sport", 3: "dport", **named}
    way: Schema = {_N | 1: ("ip", ip), _N | 2: ("proto", proto), 3: "zone"}
    ports: Schema = {1: "min_port", 2: "max_port"}
    range_: Schema = {nat_addresses: "min_ip", nat_addresses + 1: "max_ip"}
    nat: Schema = {**range_, _N | 3: ("proto", ports)}
    return {
        **{_N | Cta.TUPLE_ORIG: ("orig", way), _N | Cta.TUPLE_REPLY: ("reply", way)},
        **{_N | Cta.NAT_SRC: ("nat_src", nat), _N | Cta.NAT_DST: ("nat_dst", nat)},
        **{Cta.STATUS: "status", Cta.TIMEOUT: "timeout", Cta.MARK: "mark", Cta.ZONE: "zone"},
        _N | Cta.PROTOINFO: ("protoinfo", _PROTOINFO),
        **{_N | 15: ("seqadj_orig", _SEQADJ), _N | 16: ("seqadj_reply", _SEQADJ)},
        **{_N | 24: ("synproxy", _SYNPROXY), _N | 5: "help", _N | 14: "master", 22: "labels"},
        **{_N | 9: ("counters_orig", _COUNTERS), _N | 10: ("counters_reply", _COUNTERS)},
        **{11: "use", 12: "id"},
        **{_N | 19: "secctx", _N | 20: "timestamp", 28: "timestamp_event"},
    }


# CTA_IP_V4_SRC, CTA_NAT_V4_MINIP, CTA_PROTO_ICMP_ID; and the same of IPv6.
_FIRST = {AF_INET: (1, 1, 4), AF_INET6: (3, 4, 7)}
_SCHEMAS = {family: _entry_schema(*first) for family, first in _FIRST.items()}

# What belongs to a flow but cannot be given to a peer yet: the entry travels without it, counted.
# The kernel writes the numbers of the last three also when they are all zero: then nothing is lost.
LEFT_BEHIND = frozenset({"help", "master", "labels", "seqadj_orig", "seqadj_reply", "synproxy"})
OFTEN_ZERO = frozenset({"seqadj_orig", "seqadj_reply", "synproxy"})
# Of use on the node that made the entry only.
MEANINGLESS = frozenset(
    {"counters_orig", "counters_reply", "use", "id", "secctx", "timestamp", "timestamp_event"}
)

_ADDRESSES = frozenset({"src", "dst", "min_ip", "max_ip"})
_SIZES = {
    **{"protocol": 1, "zone": 2, "vtag_orig": 4, "vtag_reply": 4, "role": 1, "handshake": 8},
    **{"sport": 2, "dport": 2, "id": 2, "icmp_type": 1, "icmp_code": 1, "min_port": 2},
    **{"max_port": 2, "state": 1, "wscale_orig": 1, "wscale_reply": 1, "flags_orig": 2},
    **{"flags_reply": 2, "status": 4, "timeout": 4, "mark": 4},
}


class Skip(StrEnum):
    """Why an entry is not given to the peers; the value is the counter's name."""

    MALFORMED = "malformed"  # no entry, or attributes that contradict each other
    FAMILY = "family"  # neither IPv4 nor IPv6
    NOT_ASSURED = "not_assured"  # no traffic both ways: scope "assured" leaves it here
    LOCAL = "local"  # to or from this node itself
    OWN_ADDRESS = "own_address"  # translated to an address that does not move to a peer


@dataclass(frozen=True, slots=True)
class Tuple:
    """One direction of a flow, addresses in network order. ICMP has its id as both ports, and what
    the kernel knows no ports of has zeros."""

    src: bytes
    dst: bytes
    protocol: int
    sport: int = 0
    dport: int = 0
    icmp_type: int = 0
    icmp_code: int = 0
    zone: int | None = None  # of this direction alone

    @property
    def family(self) -> int:
        return AF_INET if len(self.src) == ADDRESS_BYTES[AF_INET] else AF_INET6

    def inverted(self) -> Tuple:
        """The direction of the answers when nothing is translated."""
        answer = _ANSWERS.get(self.protocol, {}).get(self.icmp_type, self.icmp_type)
        return replace(
            self,
            src=self.dst,
            dst=self.src,
            sport=self.dport,
            dport=self.sport,
            icmp_type=answer if self.protocol in ICMPS else 0,
        )


@dataclass(frozen=True, slots=True)
class Tcp:
    """CTA_PROTOINFO_TCP."""

    state: int
    wscale_orig: int = 0
    wscale_reply: int = 0
    flags_orig: int = 0
    flags_reply: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A tracked flow. `reply` is translated when the flow is."""

    orig: Tuple
    reply: Tuple
    status: int
    timeout_s: int = 0
    mark: int = 0
    zone: int | None = None  # of both directions
    tcp: Tcp | None = None
    protoinfo: bytes = b""  # of SCTP and DCCP: the value of CTA_PROTOINFO, as it is
    left_behind: tuple[str, ...] = ()  # which of LEFT_BEHIND it has

    @property
    def source_nat(self) -> bool:
        return (self.reply.dst, self.reply.dport) != (self.orig.src, self.orig.sport)

    @property
    def destination_nat(self) -> bool:
        if self.orig.protocol in ICMPS:  # one id for both ports: it is the source's
            return self.reply.src != self.orig.dst
        return (self.reply.src, self.reply.sport) != (self.orig.dst, self.orig.dport)

    @property
    def assured(self) -> bool:
        """Worth keeping in scope "assured". Where that never comes, an answer must do."""
        return bool(self.status & (ASSURED if self.orig.protocol in LASTING else SEEN_REPLY))


@dataclass(frozen=True, slots=True)
class Rules:
    """Which entries a node gives to its peers."""

    every: bool  # scope "all"
    local: frozenset[bytes] = frozenset()  # this node's addresses and the VIPs, network order
    own: frozenset[bytes] = frozenset()  # the same without the VIPs

    def skip(self, entry: Entry) -> Skip | None:
        """Why it stays here; None: it travels. The nft table of `kernel/ctevents.py` asks the same
        of packets; a dump has passed no rule, so it must be asked of the addresses too."""
        if not self.every and not entry.assured:
            return Skip.NOT_ASSURED
        if entry.orig.src in self.local or entry.reply.src in self.local:
            return Skip.LOCAL
        if entry.reply.dst in self.own:
            return Skip.OWN_ADDRESS
        return None


# ------------------------------------------------------------------------------------- reading

Fields = dict[str, tuple[int, int]]  # name -> offset and length of the value


def fields(message: bytes) -> Fields | None:
    """Where the values of a message are: "orig.ip.src", "protoinfo.tcp.state", "timeout"...

    Unknown attributes are called `unknown_NUMBER`. None when lengths contradict each other,
    or when an attribute is there twice.
    """
    if len(message) < BODY_AT or netlink.HEADER.unpack_from(message)[0] != len(message):
        return None
    found: Fields = {}
    schema = _SCHEMAS.get(message[netlink.HEADER_LEN], _SCHEMAS[AF_INET])
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


def parse(message: bytes) -> Entry | Skip:
    """An event, or a message of a dump or of a get.

    Checks in this order: MALFORMED (lengths), FAMILY, MALFORMED (missing values).
    """
    found = fields(message)
    if found is None:
        return Skip.MALFORMED
    if message[netlink.HEADER_LEN] not in _SCHEMAS:
        return Skip.FAMILY
    get = _Reader(message, found)
    orig, reply = get.way("orig"), get.way("reply")
    if not get.sizes_fit or orig is None or reply is None or orig.protocol != reply.protocol:
        return Skip.MALFORMED
    return Entry(
        orig,
        reply,
        status=get.number("status") or 0,
        timeout_s=get.number("timeout") or 0,
        mark=get.number("mark") or 0,
        zone=get.number("zone"),
        tcp=get.tcp(),
        protoinfo=get.other_protoinfo(),
        left_behind=get.left_behind(),
    )


def parse_create(request: bytes) -> Entry | Skip:
    """The entry that a create request makes: its reply as the kernel will translate it."""
    entry = parse(request)
    found = fields(request)
    if isinstance(entry, Skip) or found is None:
        return entry
    get = _Reader(request, found)
    reply = entry.reply
    source, source_port = get.value("nat_src.min_ip"), get.number("nat_src.proto.min_port")
    if source is not None:
        reply = replace(reply, dst=source, dport=source_port or 0)
    target, target_port = get.value("nat_dst.min_ip"), get.number("nat_dst.proto.min_port")
    if target is not None:
        reply = replace(reply, src=target, sport=target_port or 0)
    if reply.protocol in ICMPS:  # one id: what either translation made of it
        changed = reply.dport if reply.dport != entry.orig.sport else reply.sport
        reply = replace(reply, sport=changed, dport=changed)
    return replace(entry, reply=reply)


def parse_tuple(message: bytes, found: Fields, way: str) -> Tuple | None:
    """The tuple `orig` or `reply` of a message; None unless it is complete."""
    return _Reader(message, found).way(way)


class _Reader:
    """Values by name."""

    __slots__ = ("_found", "_message", "sizes_fit")

    def __init__(self, message: bytes, found: Fields) -> None:
        self._message = message
        self._found = found
        self.sizes_fit = sizes_fit(found, message[netlink.HEADER_LEN])

    def value(self, name: str) -> bytes | None:
        span = self._found.get(name)
        return None if span is None else self._message[span[0] : span[0] + span[1]]

    def number(self, name: str) -> int | None:
        value = self.value(name)
        return None if value is None else int.from_bytes(value, "big")

    def way(self, name: str) -> Tuple | None:
        """None unless addresses, protocol and what that has (ports, or an ICMP id) are there."""
        src, dst = self.value(f"{name}.ip.src"), self.value(f"{name}.ip.dst")
        protocol = self.number(f"{name}.proto.protocol")
        ports = ("id", "id") if protocol in ICMPS else ("sport", "dport")
        sport, dport = (self.number(f"{name}.proto.{port}") for port in ports)
        if protocol not in ICMPS | LASTING and sport is dport is None:
            sport = dport = 0
        if src is None or dst is None or protocol is None or sport is None or dport is None:
            return None
        type_, code = self.number(f"{name}.proto.icmp_type"), self.number(f"{name}.proto.icmp_code")
        zone = self.number(f"{name}.zone")
        return Tuple(src, dst, protocol, sport, dport, type_ or 0, code or 0, zone)

    def tcp(self) -> Tcp | None:
        state = self.number("protoinfo.tcp.state")
        if state is None:
            return None
        scales = [self.number(f"protoinfo.tcp.wscale_{way}") or 0 for way in ("orig", "reply")]
        flags = [self.value(f"protoinfo.tcp.flags_{way}") or b"\0" for way in ("orig", "reply")]
        return Tcp(state, *scales, *(value[0] for value in flags))

    def other_protoinfo(self) -> bytes:
        return (self.value("protoinfo") or b"") if "protoinfo.tcp" not in self._found else b""

    def left_behind(self) -> tuple[str, ...]:
        zero = {
            name
            for name in OFTEN_ZERO & self._found.keys()
            if not any(self.number(leaf) for leaf in self._found if leaf.startswith(f"{name}."))
        }
        return tuple(sorted((LEFT_BEHIND & self._found.keys()) - zero))


def sizes_fit(found: Fields, family: int) -> bool:
    """Whether every value that we read is as long as it must be."""
    address_bytes = ADDRESS_BYTES.get(family)
    for name, (_at, length) in found.items():
        leaf = name.rpartition(".")[2]
        wanted = address_bytes if leaf in _ADDRESSES else _SIZES.get(leaf, length)
        if length != wanted and name != "id":  # CTA_ID, not the id of ICMP
            return False
    return True


# ------------------------------------------------------------------------------------- writing


def create_request(entry: Entry) -> bytes:
    """Make the entry on a node that has none: EEXIST where one of its tuples is in use.

    The reply is given untranslated beside the translation, from which the kernel derives the
    translated reply and the status bits of NAT: those cannot be set.
    """
    orig, reply = entry.orig, entry.reply
    body = [_tuple(Cta.TUPLE_ORIG, orig), _tuple(Cta.TUPLE_REPLY, _answer(entry))]
    if entry.source_nat:
        body.append(_nat(Cta.NAT_SRC, orig, reply.dst, reply.dport))
    if entry.destination_nat:
        body.append(_nat(Cta.NAT_DST, orig, reply.src, reply.sport))
    return _request(MSG_NEW, CREATE_FLAGS, orig, *body, *_state(entry))


def update_request(entry: Entry) -> bytes:
    """Give an existing entry this one's state. NAT cannot be changed: the kernel would refuse."""
    way = entry.orig
    return _request(MSG_NEW, CHANGE_FLAGS, way, _tuple(Cta.TUPLE_ORIG, way), *_state(entry))


def delete_request(entry: Entry) -> bytes:
    """Remove the entry with this original tuple."""
    way = entry.orig
    return _request(MSG_DELETE, CHANGE_FLAGS, way, _tuple(Cta.TUPLE_ORIG, way), *_zone(entry))


def delete_by_reply_request(entry: Entry) -> bytes:
    """Remove whatever entry answers with this one's translated reply tuple."""
    way = entry.reply
    return _request(MSG_DELETE, CHANGE_FLAGS, way, _tuple(Cta.TUPLE_REPLY, way), *_zone(entry))


def goes_quiet(entry: Entry) -> bool:
    """Whether a copy lives for QUIET_TIMEOUT_S, whatever its original has left."""
    return entry.orig.protocol != IP_TCP or _tcp(entry).state == TCP_ESTABLISHED


def _answer(entry: Entry) -> Tuple:
    # A zone of one direction stays where it is: inverting swaps addresses, not zones.
    return replace(entry.orig.inverted(), zone=entry.reply.zone)


def _request(type_: int, flags: int, way: Tuple, *attributes: bytes) -> bytes:
    return netlink.message(type_, flags, 0, NFGEN.pack(way.family, 0, 0) + b"".join(attributes))


def _tuple(type_: int, way: Tuple) -> bytes:
    address, _nat, icmp = _FIRST[way.family]
    proto = [netlink.u8(1, way.protocol)]
    if way.protocol in ICMPS:
        proto += [netlink.be16(icmp, way.sport)]
        proto += [netlink.u8(icmp + 1, way.icmp_type), netlink.u8(icmp + 2, way.icmp_code)]
    elif way.protocol in LASTING:
        proto += [netlink.be16(2, way.sport), netlink.be16(3, way.dport)]
    addresses = netlink.nested(
        1, netlink.attr(address, way.src), netlink.attr(address + 1, way.dst)
    )
    zone = [] if way.zone is None else [netlink.be16(3, way.zone)]
    return netlink.nested(type_, addresses, netlink.nested(2, *proto), *zone)


def _nat(type_: int, way: Tuple, address: bytes, port: int) -> bytes:
    first = _FIRST[way.family][1]
    range_ = [netlink.attr(first, address), netlink.attr(first + 1, address)]
    if way.protocol not in ICMPS | LASTING:
        return netlink.nested(type_, *range_)  # no port that could be given
    ports = netlink.nested(3, netlink.be16(1, port), netlink.be16(2, port))
    return netlink.nested(type_, *range_, ports)


def _state(entry: Entry) -> list[bytes]:
    """All that create and update have in common."""
    # NAT bits follow from CTA_NAT_*; the others are local, or cannot be set.
    status = entry.status & (SEEN_REPLY | ASSURED) | CONFIRMED
    state = [
        netlink.be32(Cta.STATUS, status),
        netlink.be32(Cta.TIMEOUT, QUIET_TIMEOUT_S if goes_quiet(entry) else entry.timeout_s),
    ]
    if entry.orig.protocol == IP_TCP:
        state.append(_protoinfo(_tcp(entry)))
    elif entry.protoinfo:
        state.append(netlink.attr(Cta.PROTOINFO | netlink.NLA_F_NESTED, entry.protoinfo))
    state.append(netlink.be32(Cta.MARK, entry.mark))  # also 0: dumps tell it, events do not
    return state + _zone(entry)


def _tcp(entry: Entry) -> Tcp:
    """Events that change no TCP state do not tell it; without one an entry refuses all packets."""
    return entry.tcp or Tcp(TCP_ESTABLISHED if entry.status & ASSURED else TCP_SYN_RECV)


def _protoinfo(tcp: Tcp) -> bytes:
    """Sequence numbers do not travel: "be liberal" keeps the first packets from being INVALID.
    The scale factors do, so that the window is tracked rightly from then on; and who began to
    close, without which a SYN of the same ports revives an entry in TIME_WAIT or CLOSE in silence,
    unknown to the peers, where it should make a new one, with its event. After a RST (CLOSE) the
    kernel goes by the last packet instead; a copy has seen none, so it gets the flag always."""
    mask = WINDOW_SCALE | SACK_PERM | CLOSE_INIT | BE_LIBERAL
    always = BE_LIBERAL | (CLOSE_INIT if tcp.state in (TCP_TIME_WAIT, TCP_CLOSE) else 0)
    flags = [bytes((flag & mask | always, mask)) for flag in (tcp.flags_orig, tcp.flags_reply)]
    inner = netlink.nested(
        1,
        netlink.u8(1, tcp.state),
        netlink.u8(2, tcp.wscale_orig),
        netlink.u8(3, tcp.wscale_reply),
        netlink.attr(4, flags[0]),
        netlink.attr(5, flags[1]),
    )
    return netlink.nested(Cta.PROTOINFO, inner)


def _zone(entry: Entry) -> list[bytes]:
    return [] if entry.zone is None else [netlink.be16(Cta.ZONE, entry.zone)]
