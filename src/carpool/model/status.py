"""What the failover process tells about itself: everything that page, CLI and metrics may show.

Room: model. Plain values that `dataclasses.asdict` turns into JSON; durations in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VhostStatus:
    """One virtual host."""

    interface: str
    vhid: int
    state: str  # INIT, BACKUP, MASTER, DISABLED
    since_s: float  # seconds in this state
    reason: str  # why it is in this state
    addresses: tuple[str, ...]
    advbase_s: int
    advskew: int  # effective: base and demotion, at most 240
    mac: str
    transport: str
    master: str | None  # who we hear: "fw1 (10.10.1.2)" or an address; None: nobody, or ourselves


@dataclass(frozen=True, slots=True)
class InterfaceStatus:
    interface: str
    device: str
    ready: bool
    reason: str


@dataclass(frozen=True, slots=True)
class DemotionReason:
    reason: str  # "interface lan down", "bulk sync", "maintenance", "check disk"...
    weight: int  # added to advskew on the wire
    text: str = ""  # of a check: what it said last


@dataclass(frozen=True, slots=True)
class DampingStatus:
    """How often the group moved, and what keeps it from moving. `cause`: "", moves_per_hour,
    hold_down or preempt_delay."""

    moves: int = 0  # that this node took part in, in the last hour
    moves_max: int = 0  # 0: no limit
    cause: str = ""
    left_s: float = 0.0  # at most, until it may move
    text: str = ""


@dataclass(frozen=True, slots=True)
class FailoverStatus:
    """The answer to `status` on failover.sock."""

    node: str
    group: str
    role: str  # MASTER, BACKUP, INIT or DISABLED when all VHIDs agree, else "SPLIT"
    summary: str  # one sentence for a person at 3 a.m.
    preempt: bool
    enabled: bool
    maintenance: bool
    advskew: int  # base, from node.toml
    effective_advskew: int
    demotion: tuple[DemotionReason, ...]
    interfaces: tuple[InterfaceStatus, ...]
    vhosts: tuple[VhostStatus, ...]
    counters: Mapping[str, int]
    damping: DampingStatus = DampingStatus()


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that a person has to mend, or to wait for; on the console, in status and metrics.

    `key` names it as long as it lasts; `text` says what is wrong and what this node does about it,
    `hint` what to do. Before `after_s` seconds it may be over by itself: then no console hears of
    it.
    """

    key: str
    text: str
    hint: str
    after_s: float = 5.0
