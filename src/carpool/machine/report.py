"""The engine's state as a FailoverStatus: what status, page and metrics show.

Room: machine. Reads the engine, changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from carpool.machine import damper
from carpool.machine.demotion import BULK_SYNC, MAINTENANCE, SWITCHOVER, link_down
from carpool.machine.effects import State
from carpool.model.status import FailoverStatus, InterfaceStatus, Trouble, VhostStatus

if TYPE_CHECKING:
    from carpool.machine.engine import Engine
    from carpool.machine.vhost import Vhost


def status_of(engine: Engine, now_s: float) -> FailoverStatus:
    """Everything that the engine knows, at `now_s`."""
    config = engine.acting  # links that only VIPs which go are on are in it
    return FailoverStatus(
        node=config.node.name,
        group=config.group.name,
        role=role_of(engine),
        summary=summary_of(engine),
        preempt=config.group.preempt,
        enabled=engine.enabled,
        maintenance=engine.maintenance,
        advskew=config.node.advskew,
        effective_advskew=engine.demotion.advskew(config.node.advskew),
        demotion=engine.demotion.reasons(),
        interfaces=tuple(
            InterfaceStatus(name, config.device(name), port.ready, port.reason)
            for name, port in engine.ports.items()
        ),
        vhosts=tuple(_vhost(engine, vhost, now_s) for vhost in engine.vhosts.values()),
        counters=dict(sorted(engine.counters.items())),
        damping=damper.status_of(engine, now_s),
    )


def _vhost(engine: Engine, vhost: Vhost, now_s: float) -> VhostStatus:
    return VhostStatus(
        interface=vhost.key.interface,
        vhid=vhost.key.vhid,
        state=vhost.state,
        since_s=round(now_s - vhost.since_s, 3),
        reason=vhost.reason,
        addresses=tuple(str(address) for address in vhost.vip.addresses),
        advbase_s=vhost.vip.advbase_s,
        advskew=vhost.effective_advskew,
        mac=vhost.vip.mac,
        transport=vhost.vip.transport,
        master=engine.name_of(vhost.key.interface, vhost.master) if vhost.master else None,
    )


def role_of(engine: Engine) -> str:
    """What all VHIDs that take part agree on, or SPLIT."""
    states = {vhost.state for vhost in engine.vhosts.values()}
    taking_part = states - {State.INIT, State.DISABLED}
    if len(taking_part) == 1:
        return taking_part.pop()
    if taking_part:
        return "SPLIT"
    return State.DISABLED if State.DISABLED in states else State.INIT


def troubles_of(engine: Engine) -> list[Trouble]:
    """What is wrong, and nobody asked for."""
    told = [
        Trouble(
            f"interface {name}",
            f"{name}: {port.reason}: {_instead(engine)}",
            "It is taken up again by itself when it is back",
        )
        for name, port in engine.ports.items()
        if not port.ready
    ]
    told += [
        Trouble(
            f"split brain {vhost.key}",
            f"split brain: {engine.name_of(vhost.key.interface, vhost.rival)} is MASTER of "
            f"{vhost.key}, too: this node hears it, and is not heard",
            f"Adverts of this node get lost on {vhost.key.interface}: does a switch snoop on IGMP "
            "or MLD, or a rule drop protocol 112? `transport = unicast` of the VIP needs no group",
        )
        for vhost in engine.vhosts.values()
        if vhost.rival is not None
    ]
    wanted = {MAINTENANCE, BULK_SYNC, SWITCHOVER, *map(link_down, engine.ports)}
    wanted -= {link_down(name) for name, port in engine.ports.items() if port.ready}
    told += [
        Trouble(reason, f"demoted, {reason}: {_instead(engine)}", "`carpool events` tells more")
        for one in engine.demotion.reasons()
        if (reason := one.reason) not in wanted
    ]
    return told + damper.troubles_of(engine)


def _instead(engine: Engine) -> str:
    """Who is the gateway meanwhile, as far as this node knows."""
    if engine.is_master:
        return "this node is the gateway still, as nobody else is"
    heard = engine.masters_heard()
    return f"{heard} is the gateway" if heard else "this node is no gateway"


def summary_of(engine: Engine) -> str:
    """One sentence for a person who was just woken."""
    vhosts = list(engine.vhosts.values())
    masters = [vhost for vhost in vhosts if vhost.state is State.MASTER]
    reasons = ", ".join(r.reason for r in engine.demotion.reasons())
    why = f"; demoted: {reasons}" if reasons else ""
    if not engine.enabled:
        return "CARP is disabled on this node: it will not take over (carpool enable)"
    if masters and len(masters) == len(vhosts):
        return f"master of all {len(vhosts)} VHIDs{why}"
    if masters:
        return f"master of {', '.join(str(v.key) for v in masters)} only{why}"
    if any(vhost.state is State.BACKUP for vhost in vhosts):
        return f"backup, hearing {engine.masters_heard() or 'nobody yet'}{why}"
    return f"not taking part{why}"
