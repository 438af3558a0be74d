"""Demotion as a set of named reasons: what holds now, never a sum that can drift.

Room: machine. Every reason but those of checks weighs 240 (FreeBSD's factors), so any of them puts
a node behind every healthy one; `rank` orders nodes that are both demoted and goes into the
packet's demote byte, which OpenBSD has and FreeBSD leaves 0.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from carpool.model.status import DemotionReason

WEIGHT = 240
ADVSKEW_CAP = 240  # CARP_MAXSKEW: the slowest that a demoted node advertises
RANK_MAX = 255

BULK_SYNC, MAINTENANCE, SWITCHOVER = "bulk sync", "maintenance", "switchover"
CRASH, STALL = "recent crash", "recent stall"
CHECK = "check "  # these begin with


def link_down(interface: str) -> str:
    """The reason that a link is not there."""
    return f"interface {interface} down"


def no_source(interface: str, family: str) -> str:
    """The reason that a VIP there has a family in which this node has no address of its own."""
    return f"no own {family} address on {interface}"


def send_errors(interface: str) -> str:
    """The reason that nothing can be sent on a link that is there."""
    return f"send errors {interface}"


def check_failing(name: str) -> str:
    """The reason that a check of the operator's fails."""
    return f"{CHECK}{name}"


class Rank(IntEnum):
    """How bad a reason is, relative to the others; ranks of several reasons add up."""

    SWITCHOVER = 1
    CRASH = 2
    MAINTENANCE = 4  # behind those two: whoever says maintenance wants this node out
    BULK_SYNC = 8  # behind maintenance: that node has the table
    SEND_ERRORS = 16
    INTERFACE_DOWN = 32


class _Held(NamedTuple):
    rank: int
    weight: int  # that it adds to advskew
    text: str


class Demotion:
    """The reasons that hold now."""

    __slots__ = ("_passed", "_reasons")

    def __init__(self) -> None:
        self._reasons: dict[str, _Held] = {}
        self._passed = False

    def set(
        self, reason: str, rank: int, on: bool, *, weight: int = WEIGHT, text: str = ""
    ) -> bool:
        """Add or remove a reason; true if that changed anything. `text` is for people."""
        if on == (reason in self._reasons):
            return False
        if on:
            self._reasons[reason] = _Held(rank, weight, text)
        else:
            del self._reasons[reason]
        return True

    def weight_of(self, reason: str) -> int | None:
        """None: it does not hold."""
        held = self._reasons.get(reason)
        return None if held is None else held.weight

    def say(self, reason: str, text: str) -> None:
        """Other words for a reason that holds."""
        held = self._reasons[reason]
        self._reasons[reason] = held._replace(text=text)

    @property
    def has_checks(self) -> bool:
        """Whether a check fails, counted or not."""
        return any(reason.startswith(CHECK) for reason in self._reasons)

    def pass_checks(self, on: bool) -> bool:
        """Reasons of checks hold still, but do not count (damper.py). Whether that changes what is
        advertised."""
        if on is self._passed:
            return False
        self._passed = on
        return self.has_checks

    @property
    def _counted(self) -> list[_Held]:
        return [
            held
            for reason, held in self._reasons.items()
            if not (self._passed and reason.startswith(CHECK))
        ]

    def __contains__(self, reason: str) -> bool:
        return reason in self._reasons

    def __bool__(self) -> bool:
        return bool(self._counted)

    @property
    def rank(self) -> int:
        return min(RANK_MAX, sum(held.rank for held in self._counted))

    def advskew(self, base: int) -> int:
        """The advskew on the wire: min(240, base + demotion)."""
        return min(ADVSKEW_CAP, base + sum(held.weight for held in self._counted))

    def reasons(self) -> tuple[DemotionReason, ...]:
        return tuple(
            DemotionReason(name, held.weight, held.text) for name, held in self._reasons.items()
        )
