"""The nodes of the group as the agent tells of them, read with care: a peer wrote half of it.

Room: web. Pure: what `GET /v1/nodes` answered in, values out; refuses to know what pages make of
them. A process of another version may leave a key out, or mean something else by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from carpool.api.render import entries_of, number_of, text_of, words_of
from carpool.machine.demotion import SWITCHOVER

Fields = Mapping[str, object]
MASTER, BACKUP = "MASTER", "BACKUP"
BEHIND_ALL = 240  # the effective advskew of whom any reason but that of a check demotes


@dataclass(frozen=True, slots=True)
class Vip:
    """One VIP on one node."""

    key: str  # 51@lan
    state: str
    since_s: float
    reason: str
    addresses: tuple[str, ...]
    advskew: int  # effective
    advbase_s: int
    mac: str
    transport: str
    hears: str  # "fw1 (10.10.1.2)"; "": nobody, or itself


@dataclass(frozen=True, slots=True)
class Member:
    """One node. `error`: why it tells nothing, or nothing of its failover process."""

    name: str
    here: bool = False
    error: str = ""
    hint: str = ""
    enabled: bool = True
    maintenance: bool = False
    preempt: bool = False
    advskew: int = 0
    effective: int = 0
    demotion: tuple[str, ...] = ()  # "maintenance: new disk"
    summary: str = ""
    vips: Mapping[str, Vip] = field(default_factory=dict)

    @property
    def masters(self) -> tuple[str, ...]:
        """The VIPs that it is MASTER of, as far as one knows."""
        return tuple(key for key, vip in self.vips.items() if vip.state == MASTER)

    def takes_part(self, key: str) -> bool:
        """Whether it would be MASTER of this VIP if it were the last node."""
        vip = self.vips.get(key)
        known = not self.error and self.enabled and vip is not None
        return known and vip is not None and vip.state in (MASTER, BACKUP)

    def is_ready(self, key: str) -> bool:
        """Whether it takes this VIP over from a node that gives it away, and is fit to keep it. An
        earlier switchover of its own does not count: the other's goodbye ends that."""
        is_behind = self.effective >= BEHIND_ALL and self.demotion != (SWITCHOVER,)
        return self.takes_part(key) and not is_behind


def members_of(answer: Fields) -> list[Member]:
    """This node first."""
    return [_member(row) for row in entries_of(answer, "nodes")]


def keys_of(members: list[Member]) -> list[str]:
    """Every VIP that any node tells of, in the order of the first that does."""
    return list(dict.fromkeys(key for one in members for key in one.vips))


def _member(row: Fields) -> Member:
    told = row.get("failover")
    told = told if isinstance(told, Mapping) else {}
    error, hint = text_of(row, "error"), text_of(row, "hint")
    if not error and (told.get("error") or not told):
        error = text_of(told, "error") or "its failover process tells nothing"
        hint = text_of(told, "hint")
    return Member(
        name=text_of(row, "name"),
        here=row.get("here") is True,
        error=error,
        hint=hint,
        enabled=told.get("enabled") is not False,
        maintenance=told.get("maintenance") is True,
        preempt=told.get("preempt") is True,
        advskew=int(number_of(told, "advskew")),
        effective=int(number_of(told, "effective_advskew")),
        demotion=tuple(_reason(one) for one in entries_of(told, "demotion")),
        summary=text_of(told, "summary"),
        vips={vip.key: vip for vip in map(_vip, entries_of(told, "vhosts"))},
    )


def _reason(row: Fields) -> str:
    reason, text = text_of(row, "reason"), text_of(row, "text")
    return f"{reason}: {text}" if text else reason


def _vip(row: Fields) -> Vip:
    return Vip(
        key=f"{text_of(row, 'vhid')}@{text_of(row, 'interface')}",
        state=text_of(row, "state") or "?",
        since_s=number_of(row, "since_s"),
        reason=text_of(row, "reason"),
        addresses=tuple(words_of(row, "addresses")),
        advskew=int(number_of(row, "advskew")),
        advbase_s=int(number_of(row, "advbase_s")),
        mac=text_of(row, "mac"),
        transport=text_of(row, "transport"),
        hears=text_of(row, "master"),
    )
