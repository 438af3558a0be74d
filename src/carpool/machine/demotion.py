"""Demotion as a set of named reasons: what holds now, never a sum that can drift.

Room: machine. Every reason weighs 240 (FreeBSD's factors), so any of them puts a node behind every
healthy one; `rank` orders nodes that are both demoted and goes into the packet's demote byte,
which OpenBSD has and FreeBSD leaves 0.
"""

from __future__ import annotations

from enum import IntEnum

from carpool.model.status import DemotionReason

WEIGHT = 240
ADVSKEW_CAP = 240  # CARP_MAXSKEW: the slowest that a demoted node advertises
RANK_MAX = 255

BULK_SYNC, MAINTENANCE, SWITCHOVER = "bulk sync", "maintenance", "switchover"
CRASH = "recent crash"


def link_down(interface: str) -> str:
    """The reason that a link is not there."""
    return f"interface {interface} down"


def no_source(interface: str, family: str) -> str:
    """The reason that a VIP there has a family in which this node has no address of its own."""
    return f"no own {family} address on {interface}"


def send_errors(interface: str) -> str:
    """The reason that nothing can be sent on a link that is there."""
    return f"send errors {interface}"


class Rank(IntEnum):
    """How bad a reason is, relative to the others; ranks of several reasons add up."""

    SWITCHOVER = 1
    CRASH = 2
    MAINTENANCE = 4  # behind those two: whoever says maintenance wants this node out
    BULK_SYNC = 8  # behind maintenance: that node has the table
    SEND_ERRORS = 16
    INTERFACE_DOWN = 32


class Demotion:
    """The reasons that hold now."""

    __slots__ = ("_reasons",)

    def __init__(self) -> None:
        self._reasons: dict[str, Rank] = {}

    def set(self, reason: str, rank: Rank, on: bool) -> bool:
        """Add or remove a reason; true if that changed anything."""
        if on == (reason in self._reasons):
            return False
        if on:
            self._reasons[reason] = rank
        else:
            del self._reasons[reason]
        return True

    def __contains__(self, reason: str) -> bool:
        return reason in self._reasons

    def __bool__(self) -> bool:
        return bool(self._reasons)

    @property
    def rank(self) -> int:
        return min(RANK_MAX, sum(self._reasons.values()))

    def advskew(self, base: int) -> int:
        """The advskew on the wire: min(240, base + demotion)."""
        return min(ADVSKEW_CAP, base + WEIGHT * len(self._reasons))

    def reasons(self) -> tuple[DemotionReason, ...]:
        return tuple(DemotionReason(name, WEIGHT) for name in self._reasons)
