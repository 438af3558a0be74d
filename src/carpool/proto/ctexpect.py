"""Expectations: the connections that a helper of the kernel waits for, such as the data of FTP.

Room: proto. Events and dumps become requests for a peer, and what a peer asks is judged; refuses to
know when, and who is master. They are few and short-lived: each is parsed, none is remembered.

Numbers and layouts: enum ctattr_expect of include/uapi/linux/netfilter/nfnetlink_conntrack.h. An
expectation ends with its master, the connection over which it was agreed, and the peer's helper
gives it its time. Its own helper is not told by the kernel: it is told the master's in that place.
"""

from __future__ import annotations

from carpool.proto import ctmessage as ct
from carpool.proto import netlink
from carpool.proto.ctfields import EXP_DELETE, EXP_NEW

_SUBSYSTEM = EXP_NEW >> 8
# What a peer gets, in our order. The tuple comes first: it is the key (ctpatch.flow_of).
_CREATE = ("tuple", "mask", "master", "flags", "nat", "function")
_NEEDED = frozenset({"tuple", "mask", "master"})
_LEAVES = frozenset(
    {"", ".ip", ".ip.src", ".ip.dst", ".proto", ".proto.protocol", ".proto.sport", ".proto.dport"}
)
_CREATE_NAMES = frozenset(
    {f"{way}{leaf}" for way in (*_NEEDED, "nat.tuple") for leaf in _LEAVES}
    | {"flags", "nat", "nat.dir", "function"}
)
_DELETE_NAMES = frozenset(f"tuple{leaf}" for leaf in _LEAVES)
_FLAGS_MAX = 0x3  # NF_CT_EXPECT_PERMANENT, _INACTIVE; not _USERSPACE
# What the kernel's helpers have registered (nf_ct_helper_expectfn_register).
_FUNCTIONS = frozenset({b"nat-follow-master", b"Q.931", b"callforwarding", b"sip"})


def concerns(message: bytes) -> bool:
    """Whether a netlink message is about expectations."""
    whole = len(message) >= netlink.HEADER_LEN
    return whole and int(netlink.HEADER.unpack_from(message)[1]) >> 8 == _SUBSYSTEM


def request(message: bytes) -> bytes:
    """What makes or removes the expectation of an event or a dump at a peer; empty: nothing can."""
    found = ct.fields(message)
    if found is None or not ct.sizes_fit(found, message[netlink.HEADER_LEN]):
        return b""
    gone = netlink.HEADER.unpack_from(message)[1] == EXP_DELETE
    parts = _CREATE[:1] if gone else _CREATE
    body = message[netlink.HEADER_LEN : ct.BODY_AT - 2] + b"\0\0"
    body += b"".join(message[ct.attribute(found[name])] for name in parts if name in found)
    type_, flags = (EXP_DELETE, ct.CHANGE_FLAGS) if gone else (EXP_NEW, ct.CREATE_FLAGS)
    made = netlink.message(type_, flags, 0, body)
    return made if judge(made) is None else b""


def master_of(message: bytes) -> ct.Tuple | None:
    """The original tuple of the connection that an expectation belongs to."""
    found = ct.fields(message)
    return None if found is None else ct.parse_tuple(message, found, "master")


def is_local(message: bytes, local: frozenset[bytes]) -> bool:
    """Whether one of these addresses speaks for itself: nothing is forwarded then."""
    found = ct.fields(message)
    if found is None:
        return False
    ends = [ct.parse_tuple(message, found, name) for name in ("master", "tuple")]
    sources = {end.src for end in ends if end is not None}
    target = ends[1]
    if target is not None and "nat" not in found:  # with it, the packets go on to somebody else
        sources.add(target.dst)
    return not sources.isdisjoint(local)


def judge(request: bytes) -> str | None:
    """Why a peer may not ask this; None: it may. In exactly our form, nothing else: a deletion
    without a tuple would be one of all expectations."""
    _length, type_, flags, sequence, port = netlink.HEADER.unpack_from(request)
    allowed = {(EXP_NEW, ct.CREATE_FLAGS): _CREATE, (EXP_DELETE, ct.CHANGE_FLAGS): _CREATE[:1]}
    parts = allowed.get((type_, flags))
    if parts is None or sequence or port:
        return f"type {type_:#06x} with flags {flags:#06x} is not for a peer to ask"
    found = ct.fields(request)
    if found is None:
        return "no expectation in it"
    create = type_ == EXP_NEW
    strange = sorted(found.keys() - (_CREATE_NAMES if create else _DELETE_NAMES))
    if strange:
        return f"{strange[0]} is not for a peer to set"
    if not ct.sizes_fit(found, request[netlink.HEADER_LEN]):
        return "a value of the wrong size"
    there = [name for name in found if "." not in name]
    if there != [name for name in parts if name in there]:
        return "attributes in another order than ours"
    if not create:
        whole = ct.parse_tuple(request, found, "tuple") is not None
        return None if whole else "a deletion of nothing certain"
    return _judge_values(request, found)


def _judge_values(request: bytes, found: ct.Fields) -> str | None:
    ways = {name: ct.parse_tuple(request, found, name) for name in _NEEDED}
    if None in ways.values():
        return "an incomplete expectation"
    if "nat" in found and None in (found.get("nat.dir"), _nat_tuple(request, found)):
        return "an incomplete expectation"
    values = {name: request[at : at + length] for name, (at, length) in found.items()}
    if int.from_bytes(values.get("flags", b""), "big") > _FLAGS_MAX:
        return "flags that are not for a peer to set"
    if int.from_bytes(values.get("nat.dir", b""), "big") > 1:
        return "a direction that there is not"
    if values.get("function", b"sip\0").rstrip(b"\0") not in _FUNCTIONS:
        return "a function that kernels do not have"
    return None


def _nat_tuple(request: bytes, found: ct.Fields) -> ct.Tuple | None:
    return ct.parse_tuple(request, found, "nat.tuple")
