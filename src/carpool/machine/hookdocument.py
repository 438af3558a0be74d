"""What a hook is told: a JSON document, and the same in short as arguments and environment.

Room: machine. Pure. Version 1: keys may come, none goes or changes its meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from carpool.machine.moves import GROUP, Move
from carpool.model.config import Config, Vip
from carpool.model.scripts import Kind

VERSION = 1
START, TRANSITION, TRY = "start", "transition", "try"


@dataclass(frozen=True, slots=True)
class Event:
    """A move as hooks are told of it."""

    event: str  # START: how it is as the agent starts; TRANSITION; TRY: by hand
    move: Move
    role: str  # of the group on this node
    states: Mapping[str, str]  # by VIP (`51@lan`)
    time: str  # RFC 3339
    monotonic_s: float
    sequence: int  # since the agent began

    @property
    def subject(self) -> str:
        return self.move.subject

    @property
    def kind(self) -> Kind:
        return Kind.GROUP if self.subject == GROUP else Kind.VIP


def document(event: Event, config: Config, overtaken: int) -> dict[str, object]:
    """`overtaken`: how many moves of the same subject this hook was not run for."""
    vips = [_vip(vip, config, event) for vip in config.group.vips]
    told: dict[str, object] = {
        "version": VERSION,
        "event": event.event,
        "kind": str(event.kind),
        "node": config.node.name,
        "group": config.group.name,
        "role": event.role,
        "from": event.move.old,
        "to": event.move.new,
        "reason": event.move.reason,
        "time": event.time,
        "monotonic_s": round(event.monotonic_s, 3),
        "sequence": event.sequence,
        "overtaken": overtaken,
    }
    if event.kind is Kind.VIP:
        interface, vhid = _place(event.subject)
        told |= {"interface": interface, "vhid": vhid}
        told |= {"device": config.node.interfaces.get(interface)}
    return {**told, "vips": vips}


def _vip(vip: Vip, config: Config, event: Event) -> dict[str, object]:
    return {
        "vhid": vip.vhid,
        "interface": vip.interface,
        "device": config.node.interfaces.get(vip.interface),
        "addresses": [str(address) for address in vip.addresses],
        "state": event.states.get(str(vip.key)),
    }


def arguments(event: Event) -> tuple[str, str]:
    """`group MASTER` or `51@lan MASTER`: what OPNsense's hooks are told."""
    return event.subject, event.move.new


def environment(event: Event, config: Config) -> dict[str, str]:
    """For scripts that read no JSON."""
    told = {
        "EVENT": event.event,
        "KIND": str(event.kind),
        "NODE": config.node.name,
        "GROUP": config.group.name,
        "ROLE": event.role,
        "FROM": event.move.old or "",
        "TO": event.move.new,
        "REASON": event.move.reason,
    }
    if event.kind is Kind.VIP:
        interface, vhid = _place(event.subject)
        told |= {"INTERFACE": interface, "VHID": str(vhid)}
        told |= {"DEVICE": config.node.interfaces.get(interface, "")}
    return {f"CARPOOL_{name}": value for name, value in told.items()}


def _place(subject: str) -> tuple[str, int]:
    vhid, _, interface = subject.partition("@")
    return interface, int(vhid)
