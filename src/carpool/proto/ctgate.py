"""What of a peer may reach our kernel: the create and delete requests that we would send, no other.

Room: proto. A netlink socket with CAP_NET_ADMIN obeys any request, and ctnetlink flushes the whole
table on a delete without a tuple: so everything is refused that is not exactly of a known form.
Refuses to know who the peer is and what becomes of a stream that is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from carpool.proto import ctexpect, netlink
from carpool.proto import ctmessage as ct
from carpool.proto.ctpatch import RUN_MAX, RUN_MIN, Shapes, Span

_FAMILIES = frozenset(ct.NFGEN.pack(family, 0, 0) for family in ct.ADDRESS_BYTES)
_LENGTH = struct.Struct("=I")
_TUPLE = frozenset(
    {"", ".ip", ".ip.src", ".ip.dst", ".proto", ".proto.protocol", ".proto.sport", ".proto.dport"}
    | {".proto.id", ".proto.icmp_type", ".proto.icmp_code", ".zone"}
)
_WAYS = ("orig", "reply", "master")
_NAT = frozenset({"", ".min_ip", ".max_ip", ".proto", ".proto.min_port", ".proto.max_port"})
_TCP = frozenset({"", *(f".{way}" for way in ("wscale_orig", "wscale_reply", "state"))})
_ORIG = frozenset(f"orig{name}" for name in _TUPLE)
_DELETE = _ORIG | {"zone"}
_CREATE = (
    _DELETE
    | {f"reply{name}" for name in _TUPLE}
    | {f"{nat}{name}" for nat in ("nat_src", "nat_dst") for name in _NAT}
    | {f"protoinfo.tcp{name}" for name in _TCP | {".flags_orig", ".flags_reply"}}
    | {f"protoinfo.sctp{name}" for name in ("", ".state", ".vtag_orig", ".vtag_reply")}
    | {f"protoinfo.dccp{name}" for name in ("", ".state", ".role", ".handshake", ".pad")}
    | {f"master{name}" for name in _TUPLE}
    | {f"{way}.{name}" for way in ct.OFTEN_ZERO[:2] for name in ("position", "before", "after")}
    | {f"synproxy.{name}" for name in ("isn", "its", "tsoff")}
    | {"protoinfo", "status", "timeout", "mark", "labels", "help", "help.name", *ct.OFTEN_ZERO}
)
_ORDER = (
    *("orig", "reply", "nat_src", "nat_dst", "master", "status", "timeout", "protoinfo", "mark"),
    *("labels", *ct.OFTEN_ZERO, "help", "zone"),
)
_NEEDED = frozenset({"status", "timeout"})  # and both tuples, as ever
# Values of any size in which two requests of one form may differ.
FREE = frozenset(
    {f"{way}{name}" for way in _WAYS for name in (".ip.src", ".ip.dst", ".proto.id")}
    | {f"{way}.proto.{port}" for way in _WAYS for port in ("sport", "dport")}
    | {f"{nat}.{name}" for nat in ("nat_src", "nat_dst") for name in ("min_ip", "max_ip")}
    | {f"{nat}.proto.{name}_port" for nat in ("nat_src", "nat_dst") for name in ("min", "max")}
    | {"protoinfo.tcp.wscale_orig", "protoinfo.tcp.wscale_reply", "timeout", "mark"}
    | {"protoinfo.sctp.vtag_orig", "protoinfo.sctp.vtag_reply", "protoinfo.dccp.handshake"}
    | {name for name in _CREATE if name.split(".")[0] in ct.OFTEN_ZERO and "." in name}
    | {"labels"}
)
LABELS_BYTES = 16  # the kernel's nf_conn_labels: 128 bits


def requests(payload: bytes) -> Iterator[bytes]:
    """The requests of a payload that has passed the gate."""
    at = 0
    while at < len(payload):
        (length,) = _LENGTH.unpack_from(payload, at)
        yield payload[at : at + length]
        at += length


class Gate:
    """Checks the payload of a frame; forms that passed once are known by one look-up."""

    def __init__(self) -> None:
        self._known: Shapes[bool] = Shapes()

    def check(self, payload: bytes) -> int | str:
        """The number of requests in `payload`, or why it must not reach the kernel."""
        at, count = 0, 0
        run = RUN_MAX  # how many of one form are expected to follow each other
        while at < len(payload):
            if len(payload) - at < ct.BODY_AT:
                return f"{len(payload) - at} stray bytes after request {count}"
            (length,) = _LENGTH.unpack_from(payload, at)
            if not ct.BODY_AT <= length <= len(payload) - at or length % 4:
                return f"request {count + 1} claims {length} of {len(payload) - at} bytes"
            many = min(run, (len(payload) - at) // length)
            if many >= RUN_MIN:
                if self._known.find_run(payload[at : at + many * length], length):
                    at += many * length
                    count += many
                    run = min(2 * run, RUN_MAX)
                    continue
                run = 0
            run += 1
            request = payload[at : at + length]
            if not self._known.find(request):
                reason = self._judge(request)
                if reason is not None:
                    return f"request {count + 1}: {reason}"
            at += length
            count += 1
        return count

    def _judge(self, request: bytes) -> str | None:
        if ctexpect.concerns(request):
            return ctexpect.judge(request)
        _length, type_, flags, sequence, port = netlink.HEADER.unpack_from(request)
        allowed = {
            (ct.MSG_NEW, ct.CREATE_FLAGS): _CREATE,
            (ct.MSG_DELETE, ct.CHANGE_FLAGS): _DELETE,
        }
        names = allowed.get((type_, flags))
        if names is None or sequence or port:
            return f"type {type_:#06x} with flags {flags:#06x} is not for a peer to ask"
        found = ct.fields(request)
        if found is None or request[netlink.HEADER_LEN : ct.BODY_AT] not in _FAMILIES:
            return "no entry of IPv4 or IPv6 in it"
        strange = sorted(found.keys() - names)
        if strange:
            return f"{strange[0]} is not for a peer to set"
        reason = self._judge_values(request, found, create=type_ == ct.MSG_NEW)
        if reason is None:
            free: list[Span] = [span for name, span in found.items() if name in FREE]
            self._known.learn(request, free, True)
        return reason

    @staticmethod
    def _judge_values(request: bytes, found: ct.Fields, *, create: bool) -> str | None:
        if not ct.sizes_fit(found, request[netlink.HEADER_LEN]):
            return "a value of the wrong size"
        there = [name for name in found if "." not in name]
        if there != [name for name in _ORDER if name in there]:
            return "attributes in another order than ours"
        if create and not _NEEDED <= found.keys():
            return "an incomplete entry"
        entry = ct.parse(request)
        if create and isinstance(entry, ct.Skip):
            return "an incomplete entry"
        if isinstance(entry, ct.Entry):
            if entry.left_behind or ("help" in found and not entry.helper):
                return "a helper that kernels do not have"
            if "master" in found and entry.master is None:
                return "an incomplete master"
            if "labels" in found and len(entry.labels) != LABELS_BYTES:
                return f"{len(entry.labels)} bytes of labels, expected {LABELS_BYTES}"
        way = ct.parse_tuple(request, found, "orig")
        if way is None:
            return "a deletion of nothing certain"
        own = (name for name in found if not name.startswith("master."))
        if way.protocol not in ct.ICMPS | ct.LASTING and any(n.endswith("port") for n in own):
            return f"ports of protocol {way.protocol}, which has none"
        return None
