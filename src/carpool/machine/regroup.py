"""A running group takes up another group.toml: VIPs come, change and go, and no second master does.

Room: machine. Reads and changes the engine, for the engine alone. Why so, and what was measured:
docs/decisions/0040-group-changes.md.

Rule 1: from TakeUp to Settle a node signs for the new and the older forms of each VHID, and
        takes both for authentic (`wireform.py`): it does not matter in which order nodes change.
Rule 2: a VIP that goes loses its addresses at once, but is advertised until Settle: a peer that
        has not got the change yet must not take it over.
Rule 3: a VIP that comes goes where the group is: who is MASTER of all others takes it at once, and
        until Settle nobody takes it because it is silent.
Rule 4: nothing of it moves a role by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from carpool.machine import effects as fx
from carpool.machine.demotion import Rank, link_down, no_source, send_errors
from carpool.machine.effects import Effect, State
from carpool.machine.wireform import WireForm, as_one
from carpool.model.config import Address, Config, Family, Node, VhostKey, Vip

if TYPE_CHECKING:
    from carpool.machine.engine import Engine

OLDER_MAX = 3  # each costs one more advert an interval; the oldest is let go


def forms(config: Config, older: Sequence[Config]) -> dict[VhostKey, WireForm]:
    """By VHID, in the order of the files: what each virtual host is on the wire."""
    vips = {vip.key: vip for vip in config.group.vips}
    before: dict[VhostKey, list[Vip]] = {}
    for one in older:
        for vip in one.group.vips:
            before.setdefault(vip.key, []).append(vip)
    return {
        key: WireForm(vips.get(key), before.get(key, ())) for key in dict.fromkeys([*vips, *before])
    }


def coming(config: Config, older: Sequence[Config]) -> set[VhostKey]:
    """The VIPs that a peer may not have yet; none if it may have no other."""
    before = [{vip.key for vip in one.group.vips} for one in older]
    fresh = {vip.key for vip in config.group.vips if any(vip.key not in had for had in before)}
    return fresh if fresh < forms(config, older).keys() else set()


def names_of(config: Config, older: Sequence[Config]) -> dict[tuple[str, Address], str]:
    """Peers by interface and address; of links that node.toml names no more, too."""
    there = config.node.interfaces
    names = {
        where: name
        for one in reversed(older)
        for where, name in _names(one.node)
        if where[0] not in there
    }
    return names | dict(_names(config.node))


def _names(node: Node) -> Iterator[tuple[tuple[str, Address], str]]:
    for peer in node.peers:
        for interface, addresses in peer.addresses.items():
            yield from (((interface, address), peer.name) for address in addresses)


def acting(config: Config, older: Sequence[Config], vips: Iterable[Vip]) -> Config:
    """`config` with `vips`: those that go stay until Settle, and the links that they are on."""
    interfaces: dict[str, str] = {}
    for one in (*reversed(older), config):
        interfaces |= one.node.interfaces
    vips = tuple(vips)
    used = {vip.interface for vip in vips} | config.node.interfaces.keys()
    kept = {name: device for name, device in interfaces.items() if name in used}
    node = replace(config.node, interfaces=kept)
    return replace(config, node=node, group=replace(config.group, vips=vips))


def change(engine: Engine, event: fx.TakeUp | fx.Settle, now_s: float) -> list[Effect]:
    """Go by another configuration from now on, and by what was before, too; or by the present one
    alone."""
    if isinstance(event, fx.TakeUp):
        if event.config == engine.config:
            return []
        vips = event.config.group.vips
        before = (engine.config, *engine.older)
        engine.older = [one for one in before if not as_one(one.group.vips, vips)][:OLDER_MAX]
        engine.config = event.config
        text = "another group.toml counts from now on, and the one before, too, until all have it"
        if not engine.older:
            text = "other settings count from now on"
    elif engine.older:
        engine.older = []
        text = "every node has the same group.toml: what was before counts no more"
    else:
        return []
    return [fx.Note("group", text), *_rebuild(engine, now_s)]


def _rebuild(engine: Engine, now_s: float) -> list[Effect]:
    config = engine.config
    engine.peers = names_of(config, engine.older)
    engine.mismatches.forget()
    wanted = forms(config, engine.older)
    done = list(_remove(engine, wanted.keys()))
    moved = [vhost for vhost in engine.vhosts.values() if vhost.form.vip != wanted[vhost.key].vip]
    # A MAC that changes: neighbours learn it anew, as in a take-over.
    done += [
        fx.ReleaseAddresses(vhost.key)
        for vhost in moved
        if vhost.state is State.MASTER and vhost.vip.mac is not wanted[vhost.key].vip.mac
    ]
    fresh = [engine.new_vhost(form) for key, form in wanted.items() if key not in engine.vhosts]
    for vhost in fresh:
        vhost.fresh = bool(engine.vhosts)
    vhosts = {**engine.vhosts, **{vhost.key: vhost for vhost in fresh}}
    engine.vhosts.clear()
    engine.vhosts.update({key: vhosts[key] for key in wanted})
    for vhost in engine.vhosts.values():
        if not engine.older:
            vhost.wait_as_others(now_s)
        vhost.form = wanted[vhost.key]
        vhost.advskew, vhost.preempt = config.node.advskew, config.group.preempt
    engine.damper.settings = config.group.damping
    done += _ports(engine, now_s)
    done.append(fx.Reconfigure())
    done += [effect for vhost in moved for effect in vhost.retake(now_s)]
    for vhost in engine.vhosts.values():
        if vhost.state is State.MASTER:
            done += vhost.advertise(now_s)
    if not engine.enabled:
        why = "disabled by an operator"
        return done + [e for v in fresh for e in v.on_unusable(now_s, why, State.DISABLED)]
    done += [effect for vhost in fresh for effect in engine.follow_link(vhost, now_s)]
    return done + join(engine, now_s)


def join(engine: Engine, now_s: float) -> list[Effect]:
    """Rule 3."""
    fresh = [vhost for vhost in engine.vhosts.values() if vhost.fresh]
    rest = [v for v in engine.vhosts.values() if not v.fresh and v.state is not State.INIT]
    if not rest or not all(v.state is State.MASTER and not v.leaving for v in rest):
        return []
    why = "it is new, and this node is MASTER of the others"
    usable = [vhost for vhost in fresh if vhost.state is State.BACKUP]
    return [effect for vhost in usable for effect in vhost.take_over(why, now_s)]


def _remove(engine: Engine, wanted: Iterable[VhostKey]) -> Iterator[Effect]:
    """No goodbye: nobody is to take it over."""
    for key in [key for key in engine.vhosts if key not in set(wanted)]:
        vhost = engine.vhosts.pop(key)
        if vhost.state is State.MASTER:
            yield fx.ReleaseAddresses(key)
        engine.demotion.set(f"addresses {key}", Rank.SEND_ERRORS, False)
        yield fx.Note("group", f"{key} is gone", key)


def _ports(engine: Engine, now_s: float) -> list[Effect]:
    """Links that no VIP needs any more demote nobody; what new ones are like is told soon."""
    interfaces = dict.fromkeys(key.interface for key in engine.vhosts)
    done: list[Effect] = []
    for gone in [name for name in engine.ports if name not in interfaces]:
        del engine.ports[gone]
        done += engine.demote(link_down(gone), Rank.INTERFACE_DOWN, False, now_s)
        for reason in (send_errors(gone), *(no_source(gone, family) for family in Family)):
            done += engine.demote(reason, Rank.SEND_ERRORS, False, now_s)
    for interface in interfaces:
        port = engine.port(interface)
        for vhost in engine.on(interface):
            vhost.take_sources(port.own if port.ready else ())
    return done
