"""A small group for tests of machine/: one engine under test, and peers that are only bytes.

Our node is fw1 at .2, its peers are fw2 at .3 and fw3 at .4 on every interface; VIPs are at .100.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_interface

from carpool.machine import effects as fx
from carpool.machine.effects import Effect, State
from carpool.machine.engine import Engine
from carpool.model.config import (
    Address,
    Config,
    Family,
    Group,
    Node,
    Peer,
    Transport,
    VhostKey,
    Vip,
)
from carpool.proto import carp

NETS = {"lan": 1, "wan": 2, "dmz": 3}
START_US = 1_700_000_000_000_000
LAN, WAN = VhostKey("lan", 51), VhostKey("wan", 52)
ALL_MASTER = {LAN: State.MASTER, WAN: State.MASTER}
ALL_BACKUP = {LAN: State.BACKUP, WAN: State.BACKUP}
ALL_INIT = {LAN: State.INIT, WAN: State.INIT}
ALL_DISABLED = {LAN: State.DISABLED, WAN: State.DISABLED}


def own(interface: str, host: int = 2) -> tuple[Address, ...]:
    net = NETS[interface]
    return (IPv4Address(f"10.{net}.0.{host}"), IPv6Address(f"fe80::{net}:{host}"))


def vip(key: VhostKey = LAN, families: str = "4", *, extra: Sequence[str] = ()) -> Vip:
    net = NETS[key.interface]
    texts = [f"10.{net}.0.100/24"] if "4" in families else []
    texts += [f"2001:db8:{net}::100/64"] if "6" in families else []
    addresses = tuple(ip_interface(text) for text in (*texts, *extra))
    return Vip(key.interface, key.vhid, b"secret", addresses)


def config(
    *vips: Vip, advskew: int = 100, preempt: bool = True, peers: tuple[str, ...] = ("fw2", "fw3")
) -> Config:
    """fw1's; without `vips` one IPv4 VIP on lan and one on wan."""
    vips = vips or (vip(LAN), vip(WAN))
    interfaces = tuple(dict.fromkeys(v.interface for v in vips))
    node = Node(
        name="fw1",
        interfaces={interface: f"{interface}0" for interface in interfaces},
        advskew=advskew,
        addresses={interface: own(interface) for interface in interfaces},
        peers=tuple(
            Peer(name, {interface: own(interface, int(name[2:]) + 1) for interface in interfaces})
            for name in peers
        ),
    )
    return Config(node, Group("pair", vips, preempt=preempt))


def unicast(vip: Vip) -> Vip:
    return replace(vip, transport=Transport.UNICAST)


def up(interface: str, addresses: tuple[Address, ...] | None = None) -> fx.InterfaceChanged:
    return fx.InterfaceChanged(
        interface, True, "up", own(interface) if addresses is None else addresses
    )


def down(interface: str) -> fx.InterfaceChanged:
    return fx.InterfaceChanged(interface, False, "no carrier", own(interface))


def backup(
    settings: Config | None = None,
    now_s: float = 0.0,
    *,
    maintenance: bool = False,
    await_bulk: bool = False,
) -> Engine:
    """An engine whose links came up at `now_s`."""
    settings = settings or config()
    engine = Engine(
        settings,
        now_s=now_s,
        counter_start_us=START_US,
        maintenance=maintenance,
        await_bulk=await_bulk,
    )
    for interface in settings.vip_interfaces():
        engine.handle(up(interface), now_s)
    return engine


def master(settings: Config | None = None, now_s: float = 0.0) -> Engine:
    """An engine that has been MASTER of all for some ten seconds, having heard nobody, and did all
    that was due at `now_s`: adverts, holds, no announcement is pending."""
    settings = settings or config()
    down_s = 3 + min(240, settings.node.advskew) / 256
    engine = backup(settings, now_s - 10.0 - down_s)
    while engine.deadline_s is not None and engine.deadline_s < now_s:
        engine.handle(fx.Tick(), engine.deadline_s)
    engine.handle(fx.Tick(), now_s)
    for vhost in engine.vhosts.values():
        vhost.advertise(now_s)
    assert states(engine) == dict.fromkeys(engine.vhosts, State.MASTER)
    return engine


@dataclass(slots=True)
class Sender:
    """Another node, as far as it can be heard. Its counter grows by itself."""

    host: int = 3
    counter: int = 1_000_000

    def says(
        self,
        vip: Vip,
        advskew: int = 0,
        *,
        advbase_s: int = 1,
        demote: int = 0,
        family: Family = Family.IPV4,
        counter: int | None = None,
        source: Address | None = None,
    ) -> fx.PacketReceived:
        self.counter += 1
        payload = carp.build(
            carp.Signer(vip.vhid, vip.password, (a.ip for a in vip.addresses)),
            vhid=vip.vhid,
            advbase_s=advbase_s,
            advskew=advskew,
            demote=demote,
            counter=self.counter if counter is None else counter,
        )
        addresses = own(vip.interface, self.host)
        mine = addresses[0] if family is Family.IPV4 else addresses[1]
        return fx.PacketReceived(vip.interface, source or mine, 255, payload)

    def leaves(self, vip: Vip, family: Family = Family.IPV4) -> fx.PacketReceived:
        return self.says(vip, 255, advbase_s=255, demote=255, family=family)


def states(engine: Engine) -> dict[VhostKey, State]:
    return {key: vhost.state for key, vhost in engine.vhosts.items()}


def reasons(engine: Engine) -> list[str]:
    """Why it is demoted."""
    return [reason.reason for reason in engine.demotion.reasons()]


def adverts(effects: list[Effect]) -> list[carp.Advert]:
    """What is sent, in order."""
    found = [carp.parse(e.payload, 255) for e in effects if isinstance(e, fx.SendAdvert)]
    return [advert for advert in found if isinstance(advert, carp.Advert)]


def skews(effects: list[Effect]) -> list[int]:
    return [advert.advskew for advert in adverts(effects)]


def notes(effects: list[Effect]) -> list[tuple[str, str]]:
    return [(e.kind, e.text) for e in effects if isinstance(e, fx.Note)]


def kinds(effects: list[Effect]) -> list[str]:
    """The effects by their names, the order of which is a contract."""
    return [type(effect).__name__ for effect in effects]


def moves(effects: list[Effect]) -> list[tuple[VhostKey, State, State]]:
    return [(e.key, e.old, e.new) for e in effects if isinstance(e, fx.Transition)]
