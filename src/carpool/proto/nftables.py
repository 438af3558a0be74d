"""nf_tables as netlink messages: tables, sets, chains, and the few expressions our rules need.

Room: proto. Bytes only; refuses to know what the rules are for (`kernel/ingress.py`). Numbers from
the kernel header include/uapi/linux/netfilter/nf_tables.h, in network order on the wire.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from carpool.proto import netlink as nl

FAMILY_NETDEV = 5  # NFPROTO_NETDEV
KEY_MAC, KEY_PORT, KEY_INDEX = 9, 13, 20  # what nft calls ether_addr, inet_service, iface_index
SET_CONSTANT, SET_TIMEOUT, SET_EVAL = 0x2, 0x10, 0x20
INGRESS, EGRESS = 0, 1  # NF_NETDEV_INGRESS, NF_NETDEV_EGRESS of linux/netfilter.h
PACKET_HOST = 0

_SUBSYSTEM = 10
_BATCH_BEGIN, _BATCH_END = 16, 17
_NEWTABLE, _DELTABLE, _NEWCHAIN, _NEWRULE, _NEWSET = 0, 2, 3, 6, 9
_NEWSETELEM, _GETSETELEM = 12, 13
_NFGEN = struct.Struct(">BBH")  # family, version, resource
_APPEND = 0x800

_TABLE_F_OWNER = 0x2
_POLICY_ACCEPT = 1
_REG_VERDICT, _REG_1 = 0, 1
_VERDICT_DROP, _VERDICT_ACCEPT = 0, 1
_CMP_EQ, _CMP_LTE, _CMP_GTE = 0, 3, 5
_META_IIF, _META_OIF, _META_L4PROTO, _META_PKTTYPE = 4, 5, 16, 19
_DYNSET_UPDATE, _DYNSET_DELETE = 1, 2
_LIST_ELEM = 1
_COMMENT = 0  # NFTNL_UDATA_RULE_COMMENT of libnftnl

# What a payload offset counts from.
LINK, NETWORK, TRANSPORT = 0, 1, 2

# --------------------------------------------------------------------------------- messages


def batch_begin() -> bytes:
    return nl.message(_BATCH_BEGIN, nl.NLM_F_REQUEST, 0, _NFGEN.pack(0, 0, _SUBSYSTEM))


def batch_end() -> bytes:
    return nl.message(_BATCH_END, nl.NLM_F_REQUEST, 0, _NFGEN.pack(0, 0, _SUBSYSTEM))


def new_table(table: str) -> bytes:
    """A table that belongs to the sending socket: nobody else can change it, `flush ruleset` passes
    it over, and it goes away with the socket. EPERM when it is another one's, EEXIST never."""
    return _message(_NEWTABLE, nl.NLM_F_CREATE, nl.string(1, table), nl.be32(2, _TABLE_F_OWNER))


def delete_table(table: str) -> bytes:
    """With everything in it; ENOENT when there is none."""
    return _message(_DELTABLE, 0, nl.string(1, table))


def new_chain(
    table: str, chain: str, hook_number: int, priority: int, devices: Sequence[str]
) -> bytes:
    """A base chain for what passes `hook_number` (INGRESS, or EGRESS: Linux 5.16) of any of these
    devices (less than 256), accepting."""
    names = [nl.string(1, device) for device in devices]
    hook = nl.nested(
        4, nl.be32(1, hook_number), nl.be32(2, priority & 0xFFFFFFFF), nl.nested(4, *names)
    )
    return _message(
        _NEWCHAIN,
        nl.NLM_F_CREATE,
        *(nl.string(1, table), nl.string(3, chain), hook),
        *(nl.be32(5, _POLICY_ACCEPT), nl.string(7, "filter")),
    )


def new_rule(table: str, chain: str, expressions: Sequence[bytes], comment: str) -> bytes:
    """A rule at the end of a chain; the comment (at most 127 bytes) is shown by `nft list`."""
    note = comment.encode() + b"\0"
    return _message(
        _NEWRULE,
        nl.NLM_F_CREATE | _APPEND,
        *(nl.string(1, table), nl.string(2, chain), nl.nested(4, *expressions)),
        nl.attr(7, bytes((_COMMENT, len(note))) + note),
    )


def new_set(
    table: str, name: str, set_id: int, flags: int, key_type: int, key_length: int, size: int
) -> bytes:
    """A set of at most `size` keys; `set_id` is how rules of the same batch name it."""
    return _message(
        _NEWSET,
        nl.NLM_F_CREATE,
        *(nl.string(1, table), nl.string(2, name), nl.be32(3, flags)),
        *(nl.be32(4, key_type), nl.be32(5, key_length)),
        *(nl.nested(9, nl.be32(1, size)), nl.be32(10, set_id)),
    )


def new_elements(
    table: str, name: str, keys: Sequence[bytes], timeout_ms: int | None = None
) -> bytes:
    """Put keys into a set, for so long or for ever."""
    timeout = b"" if timeout_ms is None else nl.be64(4, timeout_ms)
    elements = [nl.nested(_LIST_ELEM, nl.nested(1, nl.attr(1, key)) + timeout) for key in keys]
    return _message(
        _NEWSETELEM,
        nl.NLM_F_CREATE,
        *(nl.string(1, table), nl.string(2, name), nl.nested(3, *elements)),
    )


def get_elements(table: str, name: str) -> bytes:
    """Dump the keys of a set; ENOENT when there is none. Takes no lock of the kernel's."""
    return _message(_GETSETELEM, nl.NLM_F_DUMP, nl.string(1, table), nl.string(2, name))


def element_keys(message: nl.Message) -> Iterator[bytes]:
    """The keys in one message of such a dump."""
    outer = nl.attributes(message.body, _NFGEN.size)
    raw = outer.get(3, b"")
    offset = 0
    while offset + nl.ATTR_LEN <= len(raw):  # elements share one type, so no dict of them
        length, _type = nl.ATTR.unpack_from(raw, offset)
        if length < nl.ATTR_LEN:
            return
        key = nl.attributes(nl.attributes(raw[offset + nl.ATTR_LEN : offset + length]).get(1, b""))
        if 1 in key:
            yield key[1]
        offset += nl.align(length)


# ------------------------------------------------------------------------------ expressions


def load(base: int, offset: int, length: int) -> bytes:
    """Bytes of the packet into the register (at most 16)."""
    return _expression(
        "payload",
        *(nl.be32(1, _REG_1), nl.be32(2, base), nl.be32(3, offset), nl.be32(4, length)),
    )


def store(base: int, offset: int, length: int) -> bytes:
    """The register into the packet, without mending any checksum."""
    return _expression(
        "payload",
        *(nl.be32(5, _REG_1), nl.be32(2, base), nl.be32(3, offset), nl.be32(4, length)),
        *(nl.be32(6, 0), nl.be32(7, 0), nl.be32(8, 0)),
    )


def load_l4proto() -> bytes:
    """The transport protocol, behind IPv6 extension headers too, into the register."""
    return _expression("meta", nl.be32(2, _META_L4PROTO), nl.be32(1, _REG_1))


def load_output_index() -> bytes:
    """The index of the device that the packet leaves by, in host order, into the register."""
    return _expression("meta", nl.be32(2, _META_OIF), nl.be32(1, _REG_1))


def load_input_index() -> bytes:
    """The index of the device that the packet came in on, in host order, into the register."""
    return _expression("meta", nl.be32(2, _META_IIF), nl.be32(1, _REG_1))


def equal(value: bytes) -> bytes:
    return _compare(_CMP_EQ, value)


def between(low: bytes, high: bytes) -> bytes:
    return _compare(_CMP_GTE, low) + _compare(_CMP_LTE, high)


def mask(value: bytes) -> bytes:
    """Keep these bits of the register."""
    zero = nl.nested(5, nl.attr(1, bytes(len(value))))
    return _expression(
        "bitwise",
        *(nl.be32(1, _REG_1), nl.be32(2, _REG_1), nl.be32(3, len(value))),
        *(nl.nested(4, nl.attr(1, value)), zero),
    )


def within(name: str, set_id: int, *, inverted: bool = False) -> bytes:
    """Go on when the register is (or is not) in a set."""
    return _expression(
        "lookup",
        *(nl.string(1, name), nl.be32(2, _REG_1), nl.be32(4, set_id)),
        nl.be32(5, int(inverted)),
    )


def put(value: bytes) -> bytes:
    """A constant into the register."""
    return _expression("immediate", nl.be32(1, _REG_1), nl.nested(2, nl.attr(1, value)))


def store_packet_type() -> bytes:
    """The register (PACKET_HOST...) becomes the packet's type."""
    return _expression("meta", nl.be32(2, _META_PKTTYPE), nl.be32(3, _REG_1))


def update_set(name: str, set_id: int, timeout_ms: int) -> bytes:
    """The register becomes a key of the set, or its time there begins anew: from within the packet
    path, without the lock that changes of the ruleset take."""
    return _expression(
        "dynset",
        *(nl.string(1, name), nl.be32(2, set_id), nl.be32(3, _DYNSET_UPDATE)),
        *(nl.be32(4, _REG_1), nl.be64(6, timeout_ms)),
    )


def delete_from_set(name: str, set_id: int) -> bytes:
    """The register is no longer a key of the set."""
    return _expression(
        "dynset",
        *(nl.string(1, name), nl.be32(2, set_id), nl.be32(3, _DYNSET_DELETE)),
        nl.be32(4, _REG_1),
    )


def counter() -> bytes:
    return _expression("counter", nl.be64(1, 0), nl.be64(2, 0))


def accept() -> bytes:
    return _verdict(_VERDICT_ACCEPT)


def drop() -> bytes:
    return _verdict(_VERDICT_DROP)


def _compare(operator: int, value: bytes) -> bytes:
    return _expression(
        "cmp", nl.be32(1, _REG_1), nl.be32(2, operator), nl.nested(3, nl.attr(1, value))
    )


def _verdict(code: int) -> bytes:
    data = nl.nested(2, nl.nested(2, nl.be32(1, code)))
    return _expression("immediate", nl.be32(1, _REG_VERDICT), data)


def _expression(name: str, *attributes: bytes) -> bytes:
    return nl.nested(_LIST_ELEM, nl.string(1, name), nl.nested(2, *attributes))


def _message(type_: int, flags: int, *attributes: bytes) -> bytes:
    body = _NFGEN.pack(FAMILY_NETDEV, 0, 0) + b"".join(attributes)
    return nl.message(_SUBSYSTEM << 8 | type_, nl.NLM_F_REQUEST | flags, 0, body)
