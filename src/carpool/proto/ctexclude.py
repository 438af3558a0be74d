"""Which flows an operator keeps out of replication: as nft rules, and as a judge of addresses.

Room: proto. The rules keep the kernel from making events; what a dump tells has passed no rule, and
is judged here by the same exclusions. Refuses to know what becomes of a flow that is excluded.

An entry does not tell which interfaces its packets pass. So the rule of an exclusion by interface
puts a label on the flow, `LABEL`, which a dump does tell (docs/decisions/0026-exclusions.md).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from carpool.model.config import PORT_PROTOCOLS, Exclusion, Network

LABEL = 127  # the last of the kernel's 128 bits
_WORDS = struct.Struct("=QQ")  # struct nf_conn_labels

# Protocol, eight ends (source, target and their ports; both ways), mark; whether it is excluded.
Ends = tuple[bytes, ...]
Judge = Callable[[int, Ends, int], bool]
_ADDRESSES, _TARGET_PORT = (0, 1, 4, 5), 3  # of the eight


def labelled(labels: bytes) -> bool:
    """Whether labels of an entry tell that a rule has excluded it."""
    return len(labels) == _WORDS.size and bool(_WORDS.unpack(labels)[1] >> 63)


def judge(exclusions: Sequence[Exclusion]) -> Judge | None:
    """What tells excluded flows, but for those by interface; None: it would never say yes."""
    tests = [_test(one) for one in exclusions if not one.interface]
    if not tests:
        return None
    return lambda protocol, ends, mark: any(test(protocol, ends, mark) for test in tests)


def _test(exclusion: Exclusion) -> Judge:
    wanted = exclusion.protocol
    port = None if exclusion.port is None else exclusion.port.to_bytes(2, "big")
    value, mask = (exclusion.mark.value, exclusion.mark.mask) if exclusion.mark else (0, 0)
    inside = None if exclusion.network is None else _inside(exclusion.network)

    def excluded(protocol: int, ends: Ends, mark: int) -> bool:
        if wanted is not None and protocol != wanted:
            return False
        if mark & mask != value:
            return False
        if port is not None and (protocol not in PORT_PROTOCOLS or ends[_TARGET_PORT] != port):
            return False
        return inside is None or any(inside(ends[at]) for at in _ADDRESSES)

    return excluded


def _inside(network: Network) -> Callable[[bytes], bool]:
    length = network.max_prefixlen // 8
    mask, base = int(network.netmask), int(network.network_address)
    return lambda address: len(address) == length and int.from_bytes(address, "big") & mask == base


# --------------------------------------------------------------------------------------- rules


@dataclass(frozen=True, slots=True)
class MarkFilter:
    """What the event socket drops: the end of flows with this mark, which no peer has."""

    value: int
    mask: int


def mark_filters(exclusions: Sequence[Exclusion]) -> tuple[MarkFilter, ...]:
    """Of those that exclude by mark alone."""
    return tuple(
        MarkFilter(one.mark.value, one.mark.mask)
        for one in exclusions
        if one.mark is not None and one == Exclusion(mark=one.mark)
    )


def rules(exclusions: Sequence[Exclusion], devices: Mapping[str, str]) -> Iterator[str]:
    """nft rules for a chain that sees forwarded packets after all translation and marking.

    An excluded flow gets no events. A mark can come later: the packet that brings it finds a mask
    in which the change of the mark is an event, and so is the end, if the mark goes again.
    """
    for one in exclusions:
        for condition in _conditions(one, devices):
            label = f"ct label set {LABEL} " if one.interface else ""
            if one.mark is None:
                yield f"ct state new,related {condition} {label}ct event set 0 return"
            else:
                yield f"ct status and confirmed == 0 {condition} {label}ct event set 0 return"
                yield f'{condition} {label}ct event set "mark",destroy return'


def _conditions(exclusion: Exclusion, devices: Mapping[str, str]) -> Iterator[str]:
    """Every way in which a packet can match; nft has no "or"."""
    mark = exclusion.mark
    marked = f"ct mark and {mark.mask:#x} == {mark.value:#x}" if mark else ""
    for device in _devices(exclusion.interface, devices):
        for network in _networks(exclusion.network):
            for protocol in _protocols(exclusion):
                yield " ".join(part for part in (device, network, protocol, marked) if part)


def _devices(interface: str, devices: Mapping[str, str]) -> Sequence[str]:
    if not interface:
        return ("",)
    return tuple(f'{way} "{devices[interface]}"' for way in ("iifname", "oifname"))


def _networks(network: Network | None) -> Sequence[str]:
    if network is None:
        return ("",)
    family = "ip" if network.version == 4 else "ip6"
    return tuple(
        f"ct {way} {family} {end} {network}"
        for way in ("original", "reply")
        for end in ("saddr", "daddr")
    )


def _protocols(exclusion: Exclusion) -> Sequence[str]:
    if exclusion.port is None:
        return ("",) if exclusion.protocol is None else (f"meta l4proto {exclusion.protocol}",)
    protocols = PORT_PROTOCOLS if exclusion.protocol is None else (exclusion.protocol,)
    return tuple(
        f"meta l4proto {protocol} ct original proto-dst {exclusion.port}" for protocol in protocols
    )
