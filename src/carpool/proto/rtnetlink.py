"""Links, addresses and neighbours as rtnetlink messages.

Room: proto. Bytes only; refuses to know which link is ours or when an address is wanted. Numbers
from the kernel headers include/uapi/linux/{rtnetlink,if_link,if_addr,neighbour}.h. Requests carry
sequence number 0: `kernel/netlink.py` numbers them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from carpool.model.config import Address, AddressWithMask
from carpool.proto import netlink as nl

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR = 1, 5, 9

AF_UNSPEC, AF_INET, AF_INET6 = 0, 2, 10
ARPHRD_ETHER = 1

IFF_UP, IFF_LOWER_UP = 0x1, 0x10000
IF_OPER_UNKNOWN, IF_OPER_UP = 0, 6  # RFC 2863

IFA_F_SECONDARY, IFA_F_NODAD, IFA_F_DADFAILED = 0x01, 0x02, 0x08
IFA_F_DEPRECATED, IFA_F_TENTATIVE, IFA_F_PERMANENT = 0x20, 0x40, 0x80
IFA_F_NOPREFIXROUTE = 0x200
INFINITY_LIFE_TIME = 0xFFFFFFFF
IFAPROT_CARPOOL = 112  # our mark on an address (`ip address show proto 112`); the kernel's are 1..3

NUD_FAILED, NUD_NOARP = 0x20, 0x40
_NUD_VALID = 0xDE  # REACHABLE, STALE, DELAY, PROBE, NOARP and PERMANENT: has a MAC address
_NTF_USE = 0x01  # resolve as if a packet were waiting

_IFINFO = struct.Struct("=BxHiII")  # family, device type, index, flags, change mask
_IFADDR = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_NDMSG = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
_CACHEINFO = struct.Struct("=IIII")  # preferred, valid (s); created, updated (1/100 s)

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK = 1, 3, 4, 5
_IFLA_OPERSTATE, _IFLA_LINKINFO = 16, 18
_IFLA_IFALIAS, _IFLA_AF_SPEC, _IFLA_GROUP, _IFLA_EXT_MASK = 20, 26, 27, 29
_RTEXT_FILTER_SKIP_STATS = 1 << 3
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_MACVLAN_MODE = 1, 2, 1
_MACVLAN_MODE_BRIDGE = 4
_IFLA_INET_CONF = 1
IPV4_DEVCONF = {  # include/uapi/linux/ip.h
    "proxy_arp": 3,
    "rp_filter": 8,
    "arp_filter": 13,
    "arp_announce": 18,
    "arp_ignore": 19,
    "arp_notify": 22,
}
_IFLA_INET6_ADDR_GEN_MODE, _IN6_ADDR_GEN_MODE_NONE = 8, 1

_IFA_ADDRESS, _IFA_LOCAL, _IFA_CACHEINFO, _IFA_FLAGS, _IFA_PROTO = 1, 2, 6, 8, 11
_NDA_DST, _NDA_LLADDR = 1, 2


@dataclass(frozen=True, slots=True)
class Link:
    """A network device."""

    index: int
    name: str
    mac: bytes  # empty for devices without
    ethernet: bool
    up: bool  # an operator set it up
    carrier: bool  # it can carry packets: carrier, and not held down by what it stands on
    parent: int  # index of the device it stands on; 0: none, or not told
    kind: str  # "macvlan", "veth"...; empty for hardware
    alias: str
    mtu: int = 0  # bytes of an IP packet


@dataclass(frozen=True, slots=True)
class DeviceAddress:
    """An IP address on a device."""

    index: int
    address: AddressWithMask
    flags: int  # IFA_F_*
    valid_s: int  # seconds; INFINITY_LIFE_TIME: for ever
    ours: bool  # carries our mark: a VIP

    @property
    def usable(self) -> bool:
        """Not waiting for duplicate address detection, and not refused by it."""
        return not self.flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """What the kernel knows about a neighbour on a link; `mac` is None while unresolved."""

    index: int
    address: Address
    mac: bytes | None


# --------------------------------------------------------------------------------- requests


def get_links() -> bytes:
    """Dump all links, without their counters."""
    return _dump(
        RTM_GETLINK,
        _IFINFO.pack(AF_UNSPEC, 0, 0, 0, 0) + nl.u32(_IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS),
    )


def get_addresses(index: int = 0) -> bytes:
    """Dump all addresses, or with NETLINK_GET_STRICT_CHK those of one device."""
    return _dump(RTM_GETADDR, _IFADDR.pack(AF_UNSPEC, 0, 0, 0, index))


def new_macvlan(name: str, parent: int, mac: bytes) -> bytes:
    """Make a macvlan in bridge mode, set down."""
    body = (
        _IFINFO.pack(AF_UNSPEC, 0, 0, 0, 0)
        + nl.string(_IFLA_IFNAME, name)
        + nl.u32(_IFLA_LINK, parent)
        + nl.attr(_IFLA_ADDRESS, mac)
        + nl.nested(
            _IFLA_LINKINFO,
            nl.attr(_IFLA_INFO_KIND, b"macvlan"),
            nl.nested(_IFLA_INFO_DATA, nl.u32(_IFLA_MACVLAN_MODE, _MACVLAN_MODE_BRIDGE)),
        )
    )
    return _request(RTM_NEWLINK, nl.NLM_F_CREATE | nl.NLM_F_EXCL, body)


def set_alias(name: str, alias: str) -> bytes:
    """Give a link the text that `ip link` shows as its alias (at most 255 bytes)."""
    return _change_link(name, nl.attr(_IFLA_IFALIAS, alias.encode()))


def set_no_link_local(name: str) -> bytes:
    """Keep a link from making itself an IPv6 link-local address."""
    mode = nl.attr(_IFLA_INET6_ADDR_GEN_MODE, bytes([_IN6_ADDR_GEN_MODE_NONE]))
    return _change_link(name, nl.nested(_IFLA_AF_SPEC, nl.nested(AF_INET6, mode)))


def set_ipv4_conf(name: str, settings: Mapping[str, int]) -> bytes:
    """What writing to /proc/sys/net/ipv4/conf/`name`/ does, for all of `settings` at once.

    Of those in IPV4_DEVCONF; KeyError for others.
    """
    values = [nl.u32(IPV4_DEVCONF[key], value) for key, value in settings.items()]
    conf = nl.nested(AF_INET, nl.nested(_IFLA_INET_CONF, *values))
    return _change_link(name, nl.nested(_IFLA_AF_SPEC, conf))


def set_up(index: int, up: bool) -> bytes:
    """Set a link up or down."""
    return _request(RTM_NEWLINK, 0, _IFINFO.pack(AF_UNSPEC, 0, index, IFF_UP if up else 0, IFF_UP))


def set_group(index: int, group: int) -> bytes:
    """Make a link one of a group of links (32 bits)."""
    return _request(
        RTM_NEWLINK, 0, _IFINFO.pack(AF_UNSPEC, 0, index, 0, 0) + nl.u32(_IFLA_GROUP, group)
    )


def delete_group(group: int) -> bytes:
    """Delete all links of a group together, which takes the kernel as long as one."""
    return _request(
        RTM_DELLINK, 0, _IFINFO.pack(AF_UNSPEC, 0, 0, 0, 0) + nl.u32(_IFLA_GROUP, group)
    )


def put_address(
    index: int,
    address: Address,
    lifetime_s: int,
    *,
    deprecated: bool = False,
    prefix_length: int | None = None,
) -> bytes:
    """Give a device a VIP for `lifetime_s` seconds from now, or extend its time; with our mark.

    As a host address (/32, /128) without a route of its own, unless a prefix length says what is
    on its link. A deprecated address answers as any other, but the kernel does not choose it as a
    source (RFC 4862, 5.5.4).
    """
    lives = _CACHEINFO.pack(0 if deprecated else lifetime_s, lifetime_s, 0, 0)
    flags = IFA_F_NODAD | (IFA_F_NOPREFIXROUTE if prefix_length is None else 0)
    body = (
        _device_address(index, address, prefix_length)
        + nl.attr(_IFA_CACHEINFO, lives)
        + nl.u32(_IFA_FLAGS, flags)
        + nl.attr(_IFA_PROTO, bytes([IFAPROT_CARPOOL]))
    )
    return _request(RTM_NEWADDR, nl.NLM_F_CREATE | nl.NLM_F_REPLACE, body)


def delete_address(index: int, address: Address) -> bytes:
    """Take a host address (/32, /128) from a device."""
    return _request(RTM_DELADDR, 0, _device_address(index, address, None))


def get_neighbour(index: int, address: Address) -> bytes:
    """Ask for one neighbour (not a dump); ENOENT when the kernel has none."""
    body = _NDMSG.pack(_family(address), index, 0, 0, 0) + nl.attr(_NDA_DST, address.packed)
    return _request(RTM_GETNEIGH, 0, body)


def resolve_neighbour(index: int, address: Address) -> bytes:
    """Have the kernel find out the MAC address of a neighbour, or check the one it has."""
    body = _NDMSG.pack(_family(address), index, 0, _NTF_USE, 0)
    return _request(
        RTM_NEWNEIGH,
        nl.NLM_F_CREATE | nl.NLM_F_REPLACE,
        body + nl.attr(_NDA_DST, address.packed),
    )


# ---------------------------------------------------------------------------------- answers


def parse_link(message: nl.Message) -> Link | None:
    """Read an RTM_NEWLINK or RTM_DELLINK; None for what is no news of a device itself.

    A bridge tells about its ports with messages of its own family (AF_BRIDGE): a "deleted" port is
    still there.
    """
    if len(message.body) < _IFINFO.size:
        return None
    family, type_, index, flags, _change = _IFINFO.unpack_from(message.body)
    if family != AF_UNSPEC:
        return None
    found = nl.attributes(message.body, _IFINFO.size)
    info = nl.attributes(found.get(_IFLA_LINKINFO, b""))
    operstate = found.get(_IFLA_OPERSTATE, bytes([IF_OPER_UNKNOWN]))[0]
    return Link(
        index=index,
        name=_text(found.get(_IFLA_IFNAME, b"")),
        mac=found.get(_IFLA_ADDRESS, b""),
        ethernet=type_ == ARPHRD_ETHER,
        up=bool(flags & IFF_UP),
        # The flag is the carrier right now; the operational state is worked out later, and also
        # tells of a device that stands on one without carrier.
        carrier=bool(flags & IFF_LOWER_UP) and operstate in (IF_OPER_UNKNOWN, IF_OPER_UP),
        parent=_u32(found.get(_IFLA_LINK, b"")),
        kind=_text(info.get(_IFLA_INFO_KIND, b"")),
        alias=_text(found.get(_IFLA_IFALIAS, b"")),
        mtu=_u32(found.get(_IFLA_MTU, b"")),
    )


def parse_address(message: nl.Message) -> DeviceAddress | None:
    """Read an RTM_NEWADDR or RTM_DELADDR; None for another family than IPv4 and IPv6."""
    if len(message.body) < _IFADDR.size:
        return None
    family, prefix_length, flags, _scope, index = _IFADDR.unpack_from(message.body)
    found = nl.attributes(message.body, _IFADDR.size)
    # IFA_ADDRESS is the peer on a point-to-point IPv4 link; IFA_LOCAL is always our own.
    raw = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS, b"")
    address: AddressWithMask
    if family == AF_INET and len(raw) == 4:
        address = IPv4Interface((raw, prefix_length))
    elif family == AF_INET6 and len(raw) == 16:
        address = IPv6Interface((raw, prefix_length))
    else:
        return None
    cacheinfo = found.get(_IFA_CACHEINFO, b"")
    valid_s = _CACHEINFO.unpack(cacheinfo)[1] if len(cacheinfo) == _CACHEINFO.size else None
    return DeviceAddress(
        index=index,
        address=address,
        flags=_u32(found.get(_IFA_FLAGS, b"")) or flags,
        valid_s=INFINITY_LIFE_TIME if valid_s is None else valid_s,
        ours=found.get(_IFA_PROTO) == bytes([IFAPROT_CARPOOL]),
    )


def parse_neighbour(message: nl.Message) -> Neighbour | None:
    """Read an RTM_NEWNEIGH; None for another family than IPv4 and IPv6."""
    if len(message.body) < _NDMSG.size:
        return None
    family, index, state, _flags, _type = _NDMSG.unpack_from(message.body)
    found = nl.attributes(message.body, _NDMSG.size)
    raw, mac = found.get(_NDA_DST, b""), found.get(_NDA_LLADDR, b"")
    address: Address
    if family == AF_INET and len(raw) == 4:
        address = IPv4Address(raw)
    elif family == AF_INET6 and len(raw) == 16:
        address = IPv6Address(raw)
    else:
        return None
    return Neighbour(index, address, mac if state & _NUD_VALID and len(mac) == 6 else None)


def _dump(type_: int, body: bytes) -> bytes:
    return _request(type_, nl.NLM_F_DUMP, body)


def _request(type_: int, flags: int, body: bytes) -> bytes:
    return nl.message(type_, nl.NLM_F_REQUEST | flags, 0, body)


def _change_link(name: str, attributes: bytes) -> bytes:
    head = _IFINFO.pack(AF_UNSPEC, 0, 0, 0, 0)
    return _request(RTM_NEWLINK, 0, head + nl.string(_IFLA_IFNAME, name) + attributes)


def _device_address(index: int, address: Address, prefix_length: int | None) -> bytes:
    length = address.max_prefixlen if prefix_length is None else prefix_length
    head = _IFADDR.pack(_family(address), length, 0, 0, index)
    both = nl.attr(_IFA_LOCAL, address.packed) + nl.attr(_IFA_ADDRESS, address.packed)
    return head + both


def _family(address: Address) -> int:
    return AF_INET if address.version == 4 else AF_INET6


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode(errors="replace")


def _u32(raw: bytes) -> int:
    return int(struct.unpack("=I", raw)[0]) if len(raw) == 4 else 0
