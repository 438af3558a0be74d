"""The nft table `netdev carpool`: lets frames for a virtual MAC enter on the parent device.

Room: kernel. A macvlan would be the input device of all that is sent to a VIP's MAC, and no rule
with `iifname "lan0"` would match. So these frames get the MAC of the parent before the macvlan sees
them, as long as the virtual MAC is *admitted*: an element of a set, with a lifetime. It refuses to
know who is master. Why so: docs/decisions/0021-virtual-mac-by-macvlan-and-ingress-rewrite.md.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from carpool.errors import KernelError
from carpool.kernel.netlink import NETLINK_NETFILTER, NetlinkSocket, Request
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
DEVICES_PER_CHAIN_MAX = 256  # NFT_NETDEVICE_MAX
VHIDS_MAX = 255  # of one device

_ICMPV6 = 58
_MLD_QUERY, _ROUTER_SOLICITATION, _REDIRECT = 130, 133, 137
_CONTROL = struct.Struct("=IB")  # index of the parent, what to do
_ADMIT, _EXPEL = 1, 0
_ABSENT = frozenset({errno.ENOENT})


@dataclass(frozen=True, slots=True)
class Parent:
    """A device with VIPs, as the table needs it."""

    device: str
    index: int
    mac: bytes
    vhids: tuple[int, ...]  # all of them: their adverts stop here
    virtual_vhids: tuple[int, ...]  # those with a virtual MAC
    macvlans: tuple[str, ...]  # their devices


class Ingress:
    """The table, which belongs to the netlink socket `owner` and goes away with it.

    `lifetime_s`: how long an admitted MAC stays so; whoever holds it admits again before.
    """

    def __init__(self, owner: NetlinkSocket, lifetime_s: float) -> None:
        """Raises KernelError: not root."""
        owner.adopt()
        self._owner = owner
        self._lifetime_ms = int(lifetime_s * 1000)
        self._reader = NetlinkSocket(NETLINK_NETFILTER)
        try:
            self._control = socket.socket(
                socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0
            )
            self._control.setblocking(False)
            self._control.bind(("lo", 0))
        except OSError as error:
            raise KernelError(f"open a packet socket on lo: {error.strerror}") from error

    def close(self) -> None:
        """Close what is ours; the owner is the caller's."""
        self._reader.close()
        self._control.close()

    def install(self, parents: Sequence[Parent]) -> None:
        """Replace the table by one for these devices, in one step; admitted MACs stay admitted.

        Raises KernelError: a device is gone, or another carpool owns the table. May wait for others
        who change the ruleset.
        """
        requests = [Request("replace table netdev carpool", nft.new_table(TABLE))]
        requests.append(Request("replace table netdev carpool", nft.delete_table(TABLE)))
        kept = {parent.index: self.admitted(parent.index) for parent in parents}
        for what, message in _table(parents, self._lifetime_ms, kept):
            requests.append(Request(what, message))
        refusals = self._owner.attempt(requests, (nft.batch_begin(), nft.batch_end()))
        if refusals:
            taken = refusals[0].errno == errno.EPERM and os.geteuid() == 0
            raise KernelError(
                f"table netdev carpool: {refusals[0].reason}",
                hint="is another `carpool run failover` running here?" if taken else "",
            )

    def remove(self) -> None:
        """Delete the table; harmless when there is none."""
        request = Request("delete table netdev carpool", nft.delete_table(TABLE), _ABSENT)
        self._owner.attempt([request], (nft.batch_begin(), nft.batch_end()))

    def admit(self, index: int, vhid: int) -> None:
        """Let frames for the virtual MAC in, from now on for the lifetime.

        Waits for nobody: a frame that we send to ourselves has the rules of the table do it.
        """
        self._tell(index, vhid, _ADMIT)

    def expel(self, index: int, vhid: int) -> None:
        """Let no frames for the virtual MAC in. Harmless when it is not admitted."""
        self._tell(index, vhid, _EXPEL)

    def admitted(self, index: int) -> set[bytes]:
        """The virtual MACs that are admitted on a parent; empty without a table."""
        question = Request("list admitted MACs", nft.get_elements(TABLE, _admitted(index)), _ABSENT)
        return {key for message in self._reader.dump(question) for key in nft.element_keys(message)}

    def _tell(self, index: int, vhid: int, what: int) -> None:
        mac = virtual_mac(vhid)
        frame = ETHERNET.pack(mac, bytes(6), CONTROL_ETHERTYPE) + _CONTROL.pack(index, what)
        try:
            self._control.send(frame)
        except OSError as error:
            hint = "ip link set lo up" if error.errno == errno.ENETDOWN else ""
            raise KernelError(f"send a frame on lo: {error.strerror}", hint=hint) from error


# ---------------------------------------------------------------------------------- the table


def _table(
    parents: Sequence[Parent], lifetime_ms: int, kept: dict[int, set[bytes]]
) -> Iterator[tuple[str, bytes]]:
    """What, and the message that makes it."""
    yield "add table netdev carpool", nft.new_table(TABLE)
    yield "hook on lo", nft.new_ingress_chain(TABLE, "control", PRIORITY, ["lo"])
    for number, parent in enumerate(parents):
        # Numbers by which rules name sets of the same batch.
        adverts_id, virtual_id, admitted_id = range(3 * number + 1, 3 * number + 4)
        yield from _sets(
            parent, (adverts_id, virtual_id, admitted_id), lifetime_ms, kept[parent.index]
        )
        for expressions, comment in _control_rules(parent.index, admitted_id, lifetime_ms):
            yield "rule on lo", nft.new_rule(TABLE, "control", expressions, comment)
        chain = f"ingress{parent.index}"
        yield (
            f"hook on {parent.device}",
            nft.new_ingress_chain(TABLE, chain, PRIORITY, [parent.device]),
        )
        rules = [*_advert_rules(parent.index, adverts_id)]
        if parent.virtual_vhids:
            rules += _virtual_mac_rules(parent, virtual_id, admitted_id)
        for expressions, comment in rules:
            yield f"rule on {parent.device}", nft.new_rule(TABLE, chain, expressions, comment)
    yield from _macvlan_chains([name for parent in parents for name in parent.macvlans])


def _sets(
    parent: Parent, ids: tuple[int, int, int], lifetime_ms: int, kept: set[bytes]
) -> Iterator[tuple[str, bytes]]:
    adverts_id, virtual_id, admitted_id = ids
    adverts, virtual, admitted = (f(parent.index) for f in (_adverts, _virtual, _admitted))
    macs = [virtual_mac(vhid) for vhid in parent.virtual_vhids]
    heads = [bytes((VERSION_TYPE, vhid)) for vhid in parent.vhids]
    what = f"set for {parent.device}"
    yield what, nft.new_set(TABLE, adverts, adverts_id, 0, nft.KEY_PORT, 2, VHIDS_MAX)
    yield what, nft.new_elements(TABLE, adverts, heads)
    yield what, nft.new_set(TABLE, virtual, virtual_id, 0, nft.KEY_MAC, 6, VHIDS_MAX)
    flags = nft.SET_TIMEOUT | nft.SET_EVAL
    yield what, nft.new_set(TABLE, admitted, admitted_id, flags, nft.KEY_MAC, 6, VHIDS_MAX)
    if macs:
        yield what, nft.new_elements(TABLE, virtual, macs)
    if kept & set(macs):
        yield what, nft.new_elements(TABLE, admitted, sorted(kept & set(macs)), lifetime_ms)


Rule = tuple[list[bytes], str]  # expressions, comment


def _control_rules(index: int, admitted_id: int, lifetime_ms: int) -> Iterator[Rule]:
    """Frames of ours on `lo` change the set of admitted MACs."""
    update = nft.update_set(_admitted(index), admitted_id, lifetime_ms)
    delete = nft.delete_from_set(_admitted(index), admitted_id)
    for what, change, comment in ((_ADMIT, update, "admit"), (_EXPEL, delete, "expel")):
        control = _CONTROL.pack(index, what)
        yield (
            [
                *_ether_type(CONTROL_ETHERTYPE),
                *(nft.load(nft.LINK, ETHERNET.size, len(control)), nft.equal(control)),
                *(nft.load(nft.LINK, 0, 6), change, nft.counter(), nft.drop()),
            ],
            f"{comment} a virtual MAC",
        )


def _advert_rules(index: int, adverts_id: int) -> Iterator[Rule]:
    """Packet sockets have seen the advert by now. Further up it would be tracked, judged by the
    user's rules, and answered with an ICMP error. Other groups' and VRRP's pass."""
    for ether_type, protocol_at in ((ETHERTYPE_IPV4, 9), (ETHERTYPE_IPV6, 6)):
        yield (
            [
                *_ether_type(ether_type),
                *(nft.load(nft.NETWORK, protocol_at, 1), nft.equal(bytes([PROTOCOL]))),
                nft.load(nft.TRANSPORT, 0, 2),
                nft.within(_adverts(index), adverts_id),
                *(nft.counter(), nft.drop()),
            ],
            "adverts of our VHIDs: carpool has seen them",
        )


def _virtual_mac_rules(parent: Parent, virtual_id: int, admitted_id: int) -> Iterator[Rule]:
    destination = nft.load(nft.LINK, 0, 6)
    yield (
        [destination, nft.within(_virtual(parent.index), virtual_id, inverted=True), nft.accept()],
        "not for a virtual MAC",
    )
    yield _neighbour_discovery(_ROUTER_SOLICITATION), "neighbour discovery: the macvlan answers"
    yield _link_local(), "link-local addresses belong to the macvlan"
    for ether_type in (ETHERTYPE_IPV4, ETHERTYPE_IPV6):
        yield (
            [
                *(destination, nft.within(_admitted(parent.index), admitted_id)),
                *_ether_type(ether_type),
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


def _macvlan_chains(names: list[str]) -> Iterator[tuple[str, bytes]]:
    """A macvlan gets a copy of every broadcast; what the parent handles is not handled twice."""
    for start in range(0, len(names), DEVICES_PER_CHAIN_MAX):
        chain = f"macvlans{start // DEVICES_PER_CHAIN_MAX}"
        devices = names[start : start + DEVICES_PER_CHAIN_MAX]
        rules: list[Rule] = [
            ([*_ether_type(ETHERTYPE_ARP), nft.accept()], "ARP"),
            (_neighbour_discovery(_MLD_QUERY), "neighbour discovery and MLD"),
            (_link_local(), "link-local addresses"),
            ([nft.counter(), nft.drop()], "the parent has a copy"),
        ]
        yield "hook on the macvlans", nft.new_ingress_chain(TABLE, chain, PRIORITY, devices)
        for expressions, comment in rules:
            yield "rule on the macvlans", nft.new_rule(TABLE, chain, expressions, comment)


def _ether_type(number: int) -> list[bytes]:
    """The type in the frame, which is another one for tagged frames, unlike `meta protocol`: they
    belong to a VLAN device."""
    return [nft.load(nft.LINK, 12, 2), nft.equal(number.to_bytes(2, "big"))]


def _neighbour_discovery(first: int) -> list[bytes]:
    return [
        *_ether_type(ETHERTYPE_IPV6),
        *(nft.load_l4proto(), nft.equal(bytes([_ICMPV6]))),
        *(nft.load(nft.TRANSPORT, 0, 1), nft.between(bytes([first]), bytes([_REDIRECT]))),
        nft.accept(),
    ]


def _link_local() -> list[bytes]:
    """fe80::/10"""
    return [
        *_ether_type(ETHERTYPE_IPV6),
        *(nft.load(nft.NETWORK, 24, 2), nft.mask(b"\xff\xc0"), nft.equal(b"\xfe\x80")),
        nft.accept(),
    ]


def _adverts(index: int) -> str:
    return f"adverts{index}"


def _virtual(index: int) -> str:
    return f"virtual{index}"


def _admitted(index: int) -> str:
    return f"admitted{index}"
