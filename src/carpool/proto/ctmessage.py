"""ctnetlink messages by full parse: events and dumps to values, values to requests for a peer.

Room: proto. The reference for `ctpatch.py`, and its slow path; refuses to know sockets, frames and
who is master. Numbers and layouts are those of the kernel headers nfnetlink_conntrack.h,
nf_conntrack_common.h and nf_conntrack_tcp.h in include/uapi/linux/netfilter. What must change on
the way between two nodes, and why, is in docs/decisions/0023-connection-state.md.

Lengths and types are host endian, values network endian: bytes of a node of the other byte order
are refused when two nodes greet each other (`statestream.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from carpool.model.config import Exclusion
from carpool.proto import ctexclude, netlink
from carpool.proto.ctfields import ADDRESS_BYTES as ADDRESS_BYTES
from carpool.proto.ctfields import AF_INET as AF_INET
from carpool.proto.ctfields import AF_INET6 as AF_INET6
from carpool.proto.ctfields import AF_UNSPEC as AF_UNSPEC
from carpool.proto.ctfields import BODY_AT as BODY_AT
from carpool.proto.ctfields import CHANGE_FLAGS as CHANGE_FLAGS
from carpool.proto.ctfields import CREATE_FLAGS as CREATE_FLAGS

# The names that go with those of this file are to be had from it, too.
from carpool.proto.ctfields import FIRST
from carpool.proto.ctfields import MSG_DELETE as MSG_DELETE
from carpool.proto.ctfields import MSG_GET as MSG_GET
from carpool.proto.ctfields import MSG_NEW as MSG_NEW
from carpool.proto.ctfields import NFGEN as NFGEN
from carpool.proto.ctfields import Cta as Cta
from carpool.proto.ctfields import Fields as Fields
from carpool.proto.ctfields import attribute as attribute
from carpool.proto.ctfields import fields as fields
from carpool.proto.ctfields import sizes_fit as sizes_fit
from carpool.proto.ctfields import without as without

IP_ICMP, IP_TCP, IP_UDP, IP_DCCP = 1, 6, 17, 33
IP_GRE, IP_ICMPV6, IP_SCTP, IP_UDPLITE = 47, 58, 132, 136
ICMPS = frozenset({IP_ICMP, IP_ICMPV6})
# With two ports (GRE: keys), and "assured" in their lives; all others have neither.
LASTING = frozenset({IP_TCP, IP_UDP, IP_DCCP, IP_GRE, IP_SCTP, IP_UDPLITE})

EXPECTED, SEEN_REPLY, ASSURED, CONFIRMED = 0x1, 0x2, 0x4, 0x8  # enum ip_conntrack_status
SEQ_ADJUST = 0x40
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


# The helpers of the kernel. One that was given a port of its own is called "ftp-2121". Others are
# programs of one node, which a peer could not run: the entry travels without, counted.
_HELPERS = frozenset(
    {"amanda", "ftp", "irc", "netbios-ns", "pptp", "sane", "sip", "snmp", "tftp"}
    | {"RAS", "Q.931", "H.245"}
)
# The kernel tells these also when they are all zero: then there is nothing to tell.
OFTEN_ZERO = ("seqadj_orig", "seqadj_reply", "synproxy")
_NUMBERS = (Cta.SEQADJ_ORIG, Cta.SEQADJ_REPLY, Cta.SYNPROXY)
# Of use on the node that made the entry only.
MEANINGLESS = frozenset(
    {"counters_orig", "counters_reply", "use", "id", "secctx", "timestamp", "timestamp_event"}
)


class Skip(StrEnum):
    """Why an entry is not given to the peers; the value is the counter's name."""

    MALFORMED = "malformed"  # no entry, or attributes that contradict each other
    FAMILY = "family"  # neither IPv4 nor IPv6
    NOT_ASSURED = "not_assured"  # no traffic both ways: scope "assured" leaves it here
    LOCAL = "local"  # to or from this node itself
    OWN_ADDRESS = "own_address"  # translated to an address that does not move to a peer
    EXCLUDED = "excluded"  # group.toml or a mark keeps it here


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

    @property
    def has_ports(self) -> bool:
        """Kernels since 6.16 know nothing of DCCP any more: to them it is as any other protocol."""
        bare = self.protocol == IP_DCCP and self.sport == self.dport == 0
        return self.protocol in LASTING and not bare

    @property
    def ends(self) -> tuple[bytes, bytes, bytes, bytes]:
        """Both addresses and both ports, in network order."""
        return self.src, self.dst, self.sport.to_bytes(2, "big"), self.dport.to_bytes(2, "big")

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
    master: Tuple | None = None  # the flow that this one was expected by
    helper: str = ""  # its name, if the kernel's
    labels: bytes = b""  # 16 bytes: 128 bits, host endian
    numbers: tuple[bytes, ...] = (b"", b"", b"")  # the values of OFTEN_ZERO, as they are
    left_behind: tuple[str, ...] = ()  # what it has and cannot travel

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
        return bool(self.status & (ASSURED if self.orig.has_ports else SEEN_REPLY))


@dataclass(frozen=True, slots=True)
class Rules:
    """Which entries a node gives to its peers."""

    every: bool  # scope "all"
    local: frozenset[bytes] = frozenset()  # this node's addresses and the VIPs, network order
    own: frozenset[bytes] = frozenset()  # the same without the VIPs
    exclusions: tuple[Exclusion, ...] = ()

    def skip(self, entry: Entry) -> Skip | None:
        """Why it stays here; None: it travels. The nft table of `kernel/ctevents.py` asks the same
        of packets; a dump has passed no rule, so it must be asked of the addresses too."""
        if not self.every and not entry.assured:
            return Skip.NOT_ASSURED
        if entry.orig.src in self.local or entry.reply.src in self.local:
            return Skip.LOCAL
        if entry.reply.dst in self.own:
            return Skip.OWN_ADDRESS
        return Skip.EXCLUDED if self._excluded(entry) else None

    def _excluded(self, entry: Entry) -> bool:
        if not self.exclusions:
            return False
        excluded = ctexclude.judge(self.exclusions)
        ends = (*entry.orig.ends, *entry.reply.ends)
        judged = excluded is not None and excluded(entry.orig.protocol, ends, entry.mark)
        return judged or ctexclude.labelled(entry.labels)


# ------------------------------------------------------------------------------------- reading


def parse(message: bytes) -> Entry | Skip:
    """An event, or a message of a dump or of a get.

    Checks in this order: MALFORMED (lengths), FAMILY, MALFORMED (missing values).
    """
    found = fields(message)
    if found is None:
        return Skip.MALFORMED
    if message[netlink.HEADER_LEN] not in ADDRESS_BYTES:
        return Skip.FAMILY
    get = _Reader(message, found)
    orig, reply = get.way("orig"), get.way("reply")
    if not get.sizes_fit or orig is None or reply is None or orig.protocol != reply.protocol:
        return Skip.MALFORMED
    helper = get.text("help.name")
    return Entry(
        orig,
        reply,
        status=get.number("status") or 0,
        timeout_s=get.number("timeout") or 0,
        mark=get.number("mark") or 0,
        zone=get.number("zone"),
        tcp=get.tcp(),
        protoinfo=get.other_protoinfo(),
        master=get.way("master"),
        helper=helper if is_helper(helper) else "",
        labels=get.value("labels") or b"",
        numbers=tuple(get.numbers(name) for name in OFTEN_ZERO),
        left_behind=("help",) if helper and not is_helper(helper) else (),
    )


def is_helper(name: str) -> bool:
    """Whether it is one that kernels have, so that a peer may be asked for it."""
    base, dash, port = name.rpartition("-")
    return name in _HELPERS or bool(dash and base in _HELPERS and port.isdecimal())


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
        if protocol not in ICMPS | LASTING - {IP_DCCP} and sport is dport is None:
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

    def text(self, name: str) -> str:
        return (self.value(name) or b"").rstrip(b"\0").decode(errors="replace")

    def numbers(self, name: str) -> bytes:
        """The attributes within this one; nothing when all are zero."""
        leaves = [leaf for leaf in self._found if leaf.startswith(f"{name}.")]
        return (self.value(name) or b"") if any(self.number(leaf) for leaf in leaves) else b""


# ------------------------------------------------------------------------------------- writing


def create_request(entry: Entry) -> bytes:
    """Make the entry on a node that has none: EEXIST where one of its tuples is in use.

    The reply is given untranslated beside the translation, from which the kernel derives the
    translated reply and the status bits of NAT: those cannot be set.
    """
    orig, reply = entry.orig, entry.reply
    body = [way_attribute(Cta.TUPLE_ORIG, orig), way_attribute(Cta.TUPLE_REPLY, _answer(entry))]
    if entry.source_nat:
        body.append(_nat(Cta.NAT_SRC, orig, reply.dst, reply.dport))
    if entry.destination_nat:
        body.append(_nat(Cta.NAT_DST, orig, reply.src, reply.sport))
    if entry.master is not None:
        body.append(way_attribute(Cta.MASTER, entry.master))
    return _request(MSG_NEW, CREATE_FLAGS, orig, *body, *_state(entry))


def update_request(entry: Entry) -> bytes:
    """Give an existing entry this one's state. NAT cannot be changed: the kernel would refuse."""
    way = entry.orig
    return _request(MSG_NEW, CHANGE_FLAGS, way, way_attribute(Cta.TUPLE_ORIG, way), *_state(entry))


def delete_request(entry: Entry) -> bytes:
    """Remove the entry with this original tuple."""
    way = entry.orig
    return _request(
        MSG_DELETE, CHANGE_FLAGS, way, way_attribute(Cta.TUPLE_ORIG, way), *_zone(entry)
    )


def get_request(orig: Tuple, zone: int | None) -> bytes:
    """Ask for the entry with this original tuple."""
    zones = [] if zone is None else [netlink.be16(Cta.ZONE, zone)]
    return _request(MSG_GET, CHANGE_FLAGS, orig, way_attribute(Cta.TUPLE_ORIG, orig), *zones)


def delete_by_reply_request(entry: Entry) -> bytes:
    """Remove whatever entry answers with this one's translated reply tuple."""
    way = entry.reply
    return _request(
        MSG_DELETE, CHANGE_FLAGS, way, way_attribute(Cta.TUPLE_REPLY, way), *_zone(entry)
    )


def goes_quiet(entry: Entry) -> bool:
    """Whether a copy lives for QUIET_TIMEOUT_S, whatever its original has left."""
    return entry.orig.protocol != IP_TCP or _tcp(entry).state == TCP_ESTABLISHED


def _answer(entry: Entry) -> Tuple:
    # A zone of one direction stays where it is: inverting swaps addresses, not zones.
    return replace(entry.orig.inverted(), zone=entry.reply.zone)


def _request(type_: int, flags: int, way: Tuple, *attributes: bytes) -> bytes:
    return netlink.message(type_, flags, 0, NFGEN.pack(way.family, 0, 0) + b"".join(attributes))


def way_attribute(type_: int, way: Tuple) -> bytes:
    """A tuple as an attribute."""
    address, _nat, icmp = FIRST[way.family]
    proto = [netlink.u8(1, way.protocol)]
    if way.protocol in ICMPS:
        proto += [netlink.be16(icmp, way.sport)]
        proto += [netlink.u8(icmp + 1, way.icmp_type), netlink.u8(icmp + 2, way.icmp_code)]
    elif way.has_ports:
        proto += [netlink.be16(2, way.sport), netlink.be16(3, way.dport)]
    addresses = netlink.nested(
        1, netlink.attr(address, way.src), netlink.attr(address + 1, way.dst)
    )
    zone = [] if way.zone is None else [netlink.be16(3, way.zone)]
    return netlink.nested(type_, addresses, netlink.nested(2, *proto), *zone)


def _nat(type_: int, way: Tuple, address: bytes, port: int) -> bytes:
    first = FIRST[way.family][1]
    range_ = [netlink.attr(first, address), netlink.attr(first + 1, address)]
    if way.protocol not in ICMPS and not way.has_ports:
        return netlink.nested(type_, *range_)  # no port that could be given
    ports = netlink.nested(3, netlink.be16(1, port), netlink.be16(2, port))
    return netlink.nested(type_, *range_, ports)


def _state(entry: Entry) -> list[bytes]:
    """All that create and update have in common. Last what a kernel may refuse."""
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
    if any(entry.labels):
        state.append(netlink.attr(Cta.LABELS, entry.labels))
    state += [
        netlink.attr(type_ | netlink.NLA_F_NESTED, value)
        for type_, value in zip(_NUMBERS, entry.numbers, strict=True)
        if value
    ]
    if entry.helper:
        state.append(netlink.nested(Cta.HELP, netlink.string(1, entry.helper)))
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
