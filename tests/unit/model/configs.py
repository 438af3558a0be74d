"""A good configuration as values, and short ways to spoil it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface

from carpool.model.config import (
    Address,
    AddressWithMask,
    Config,
    Group,
    Node,
    Peer,
    States,
    Transport,
    Vip,
)


def ips(*texts: str) -> tuple[Address, ...]:
    return tuple(ip_address(text) for text in texts)


def masked(*texts: str) -> tuple[AddressWithMask, ...]:
    return tuple(ip_interface(text) for text in texts)


FW2 = Peer(
    "fw2",
    {"lan": ips("10.10.1.3"), "wan": ips("10.10.2.3", "fe80::3"), "sync": ips("10.10.3.2")},
)
NODE = Node(
    name="fw1",
    interfaces={"lan": "lan0", "wan": "wan0", "sync": "sync0"},
    addresses={"sync": ips("10.10.3.1")},
    peers=(FW2,),
)
LAN = Vip("lan", 51, b"secret", masked("10.10.1.1/24", "fd00:10::1/64"))
WAN = Vip("wan", 52, b"secret", masked("10.10.2.1/24"), transport=Transport.UNICAST)
GROUP = Group("edge", (LAN, WAN), states=States("sync"))


def config(
    *,
    node: Node = NODE,
    group: Group = GROUP,
    lan: Vip = LAN,
    wan: Vip = WAN,
    vips: tuple[Vip, ...] | None = None,
) -> Config:
    """The good configuration, or with other parts."""
    if group is GROUP:
        group = replace(GROUP, vips=(lan, wan) if vips is None else vips)
    return Config(node, group)
