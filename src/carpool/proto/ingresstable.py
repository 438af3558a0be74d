"""The nft table `netdev carpool`, as netlink messages: its sets, chains and rules.

Room: proto. Bytes only; `kernel/ingress.py` sends them and says what the table is for. The index of
a device is part of names, so that a device that comes back gets sets of its own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from carpool.proto import nftables as nft
from carpool.proto.carp import PROTOCOL, VERSION_TYPE
from carpool.proto.ipheader import (
    ETHERNET,
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    virtual_mac,
)

TABLE = "carpool"
PRIORITY = -500  # before chains and flowtables of the user's, which then see the parent's MAC
CONTROL_ETHERTYPE = 0x88B5  # IEEE 802, local experimental 1; such frames never leave `lo`
DEVICES_PER_CHAIN_MAX = 200  # less than NFT_NETDEVICE_MAX, 256
VHIDS_MAX = 255  # of one device
MACVLANS_MAX = 65536

_CONTROL = struct.Struct("=IBxxxI")  # index of the parent, what to do, index of the macvlan
_CONTROL_KEY_BYTES, _CONTROL_MACVLAN_AT = 5, 8
_EXPEL, _ADMIT = 0, 1
_OPEN, _OPEN_ID = "open", 1  # the set of macvlans that may hear

_ICMPV6 = 58
_ROUTER_SOLICITATION, _REDIRECT = 133, 137
_MLD_REPORT, _MLD_DONE, _MLD2_REPORT = 131, 132, 143
_NEIGHBOUR = 135, 136  # solicitation, advertisement

Step = tuple[str, bytes]  # what a person is told when it fails, and the message
Rule = tuple[list[bytes], str]  # expressions, comment


@dataclass(frozen=True, slots=True)
class Macvlan:
    """A VHID with a virtual MAC, and the device that has it."""

    vhid: int
    device: str
    index: int


@dataclass(frozen=True, slots=True)
class Parent:
    """A device with VIPs."""

    device: str
    index: int
    mac: bytes
    vhids: tuple[int, ...]  # all of them: their adverts stop here
    macvlans: tuple[Macvlan, ...] = ()  # of those with a virtual MAC

    @property
    def admitted(self) -> str:
        """The name of its set of admitted MACs."""
        return f"admitted{self.index}"


def control_frame(parent: int, macvlan: Macvlan, *, admit: bool) -> bytes:
    """The frame that has the table's rules on `lo` admit or expel a virtual MAC."""
    head = ETHERNET.pack(virtual_mac(macvlan.vhid), bytes(6), CONTROL_ETHERTYPE)
    return head + _CONTROL.pack(parent, _ADMIT if admit else _EXPEL, macvlan.index)


def replace_table(
    parents: Sequence[Parent], lifetime_ms: int, kept: Mapping[int, set[bytes]]
) -> Iterator[Step]:
    """All requests of a batch that makes the table anew. `kept`, by index of the parent, are MACs
    that were admitted and stay so for a lifetime."""
    what = "replace table netdev carpool"
    yield what, nft.new_table(TABLE)  # so that there is one to delete
    yield what, nft.delete_table(TABLE)
    yield what, nft.new_table(TABLE)
    macvlans = [(parent, macvlan) for parent in parents for macvlan in parent.macvlans]
    heard = [m.index for p, m in macvlans if virtual_mac(m.vhid) in kept.get(p.index, ())]
    keys = [_native(index) for index in heard]
    yield from _timed_set(_OPEN, _OPEN_ID, nft.KEY_INDEX, keys, lifetime_ms)
    yield "hook on lo", nft.new_chain(TABLE, "control", nft.INGRESS, PRIORITY, ["lo"])
    for number, parent in enumerate(parents):
        yield from _parent(parent, 3 * number + 2, lifetime_ms, kept.get(parent.index, set()))
    yield from _macvlan_chains([macvlan.device for _parent, macvlan in macvlans])


def _parent(parent: Parent, first_id: int, lifetime_ms: int, kept: set[bytes]) -> Iterator[Step]:
    """Sets and rules of one device; the numbers are how rules name sets of the same batch."""
    adverts_id, virtual_id, admitted_id = range(first_id, first_id + 3)
    adverts, virtual = f"adverts{parent.index}", f"virtual{parent.index}"
    macs = [virtual_mac(macvlan.vhid) for macvlan in parent.macvlans]
    heads = [bytes((VERSION_TYPE, vhid)) for vhid in parent.vhids]
    what = f"set for {parent.device}"
    yield what, nft.new_set(TABLE, adverts, adverts_id, 0, nft.KEY_PORT, 2, VHIDS_MAX)
    yield what, nft.new_elements(TABLE, adverts, heads)
    yield what, nft.new_set(TABLE, virtual, virtual_id, 0, nft.KEY_MAC, 6, VHIDS_MAX)
    if macs:
        yield what, nft.new_elements(TABLE, virtual, macs)
    keys = sorted(kept & set(macs))
    yield from _timed_set(parent.admitted, admitted_id, nft.KEY_MAC, keys, lifetime_ms)
    for expressions, comment in _control_rules(parent, admitted_id, lifetime_ms):
        yield "rule on lo", nft.new_rule(TABLE, "control", expressions, comment)
    chain = f"ingress{parent.index}"
    hook = nft.new_chain(TABLE, chain, nft.INGRESS, PRIORITY, [parent.device])
    yield f"hook on {parent.device}", hook
    rules = [*_advert_rules(adverts, adverts_id)]
    if macs:
        rules += _virtual_mac_rules(parent, (virtual, virtual_id), (parent.admitted, admitted_id))
    for expressions, comment in rules:
        yield f"rule on {parent.device}", nft.new_rule(TABLE, chain, expressions, comment)


def _timed_set(
    name: str, set_id: int, key_type: int, keys: list[bytes], lifetime_ms: int
) -> Iterator[Step]:
    length, size = (6, VHIDS_MAX) if key_type == nft.KEY_MAC else (4, MACVLANS_MAX)
    flags = nft.SET_TIMEOUT | nft.SET_EVAL
    yield f"set {name}", nft.new_set(TABLE, name, set_id, flags, key_type, length, size)
    if keys:
        yield f"set {name}", nft.new_elements(TABLE, name, keys, lifetime_ms)


def _control_rules(parent: Parent, admitted_id: int, lifetime_ms: int) -> Iterator[Rule]:
    """Frames of ours on `lo` change who is admitted."""
    changes = {
        _ADMIT: (
            "admit a virtual MAC",
            nft.update_set(parent.admitted, admitted_id, lifetime_ms),
            nft.update_set(_OPEN, _OPEN_ID, lifetime_ms),
        ),
        _EXPEL: (
            "expel a virtual MAC",
            nft.delete_from_set(parent.admitted, admitted_id),
            nft.delete_from_set(_OPEN, _OPEN_ID),
        ),
    }
    for what, (comment, change_mac, change_macvlan) in changes.items():
        key = _CONTROL.pack(parent.index, what, 0)[:_CONTROL_KEY_BYTES]
        macvlan = nft.load(nft.LINK, ETHERNET.size + _CONTROL_MACVLAN_AT, 4)
        yield (
            [
                *_ether_type(CONTROL_ETHERTYPE),
                *(nft.load(nft.LINK, ETHERNET.size, len(key)), nft.equal(key)),
                *(nft.load(nft.LINK, 0, 6), change_mac, macvlan, change_macvlan),
                *(nft.counter(), nft.drop()),
            ],
            comment,
        )


def _advert_rules(adverts: str, adverts_id: int) -> Iterator[Rule]:
    """Packet sockets have seen the advert by now. Further up it would be tracked, judged by the
    user's rules, and answered with an ICMP error. Other groups' and VRRP's pass."""
    for ether_type, protocol_at in ((ETHERTYPE_IPV4, 9), (ETHERTYPE_IPV6, 6)):
        yield (
            [
                *_ether_type(ether_type),
                *(nft.load(nft.NETWORK, protocol_at, 1), nft.equal(bytes([PROTOCOL]))),
                *(nft.load(nft.TRANSPORT, 0, 2), nft.within(adverts, adverts_id)),
                *(nft.counter(), nft.drop()),
            ],
            "adverts of our VHIDs: carpool has seen them",
        )


def _virtual_mac_rules(
    parent: Parent, virtual: tuple[str, int], admitted: tuple[str, int]
) -> Iterator[Rule]:
    destination = nft.load(nft.LINK, 0, 6)
    yield (
        [destination, nft.within(*virtual, inverted=True), nft.accept()],
        "not for a virtual MAC",
    )
    yield _icmpv6(_ROUTER_SOLICITATION, _REDIRECT), "neighbour discovery: the macvlan answers"
    yield _link_local(), "link-local addresses belong to the macvlan"
    for ether_type in (ETHERTYPE_IPV4, ETHERTYPE_IPV6):
        yield (
            [
                *(destination, nft.within(*admitted), *_ether_type(ether_type)),
                *(nft.put(parent.mac), nft.store(nft.LINK, 0, 6)),
                *(nft.put(bytes([nft.PACKET_HOST])), nft.store_packet_type()),
                *(nft.counter(), nft.accept()),
            ],
            "a VIP of ours: in by this device",
        )
    for ether_type in (ETHERTYPE_IPV4, ETHERTYPE_IPV6):
        yield (
            [*_ether_type(ether_type), nft.counter(), nft.drop()],
            "a VIP of another node: flooded by a switch",
        )


def _macvlan_chains(names: list[str]) -> Iterator[Step]:
    """A macvlan gets a copy of every broadcast; what the parent handles is not handled twice."""
    for start in range(0, len(names), DEVICES_PER_CHAIN_MAX):
        chain = f"macvlans{start // DEVICES_PER_CHAIN_MAX}"
        devices = names[start : start + DEVICES_PER_CHAIN_MAX]
        shut = [nft.load_input_index(), nft.within(_OPEN, _OPEN_ID, inverted=True), nft.drop()]
        rules: list[Rule] = [
            (shut, "not admitted: deaf"),
            ([*_ether_type(ETHERTYPE_ARP), nft.accept()], "ARP"),
            (_icmpv6(*_NEIGHBOUR), "neighbour discovery"),
            (_link_local(), "link-local addresses"),
            ([nft.counter(), nft.drop()], "the parent has a copy"),
        ]
        hook = nft.new_chain(TABLE, chain, nft.INGRESS, PRIORITY, devices)
        yield "hook on the macvlans", hook
        for expressions, comment in rules:
            yield "rule on the macvlans", nft.new_rule(TABLE, chain, expressions, comment)
        yield from _mute(f"out_of_{chain}", devices)


def _mute(chain: str, devices: list[str]) -> Iterator[Step]:
    """Whatever a macvlan says beside the new master, whose place is taken, would have switches send
    that one's frames here: nothing when it is expelled, and never an MLD report, which the kernel
    sends when it likes to. The parent is in the same groups (kernel/adverts.py)."""
    yield "hook behind the macvlans", nft.new_chain(TABLE, chain, nft.EGRESS, PRIORITY, devices)
    shut = [nft.load_output_index(), nft.within(_OPEN, _OPEN_ID, inverted=True)]
    drop = nft.counter(), nft.drop()
    rules: list[Rule] = [
        ([*shut, *drop], "not admitted: mute"),
        (_icmpv6(_MLD_REPORT, _MLD_DONE, *drop), "MLD: the parent reports"),
        (_icmpv6(_MLD2_REPORT, _MLD2_REPORT, *drop), "MLD: the parent reports"),
    ]
    for expressions, comment in rules:
        yield "rule behind the macvlans", nft.new_rule(TABLE, chain, expressions, comment)


def _ether_type(number: int) -> list[bytes]:
    """The type in the frame, which is another one for tagged frames, unlike `meta protocol`: they
    belong to a VLAN device."""
    return [nft.load(nft.LINK, 12, 2), nft.equal(number.to_bytes(2, "big"))]


def _icmpv6(first: int, last: int, *verdict: bytes) -> list[bytes]:
    """Accept these types of ICMPv6, or do as `verdict` says."""
    return [
        *_ether_type(ETHERTYPE_IPV6),
        *(nft.load_l4proto(), nft.equal(bytes([_ICMPV6]))),
        *(nft.load(nft.TRANSPORT, 0, 1), nft.between(bytes([first]), bytes([last]))),
        *(verdict or (nft.accept(),)),
    ]


def _link_local() -> list[bytes]:
    """Accept what is for fe80::/10."""
    return [
        *_ether_type(ETHERTYPE_IPV6),
        *(nft.load(nft.NETWORK, 24, 2), nft.mask(b"\xff\xc0"), nft.equal(b"\xfe\x80")),
        nft.accept(),
    ]


def _native(index: int) -> bytes:
    return struct.pack("=I", index)
