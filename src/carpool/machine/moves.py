"""What moved on this node, for hooks: each virtual host, and the group as a whole.

Room: machine. Pure: told what failover says and the time. Refuses to know what a hook is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

GROUP = "group"
GONE = "INIT"  # what a VIP is on a node that knows nothing of it
SPLIT = "SPLIT"
SPLIT_S = 1.0  # VIPs of a dead master time out one by one: that is no state of the group
LOST_S = 5.0  # failover is silent: its addresses have ended by themselves after 3 s
LOST = "failover does not answer: the addresses of this node have ended"


@dataclass(frozen=True, slots=True)
class Move:
    """`old` is None for what is told at the start of whoever tells it."""

    subject: str  # GROUP, or a virtual host: `51@lan`
    old: str | None
    new: str  # INIT, BACKUP, MASTER, DISABLED; of the group also SPLIT
    reason: str


class Moves:
    """`due` tells each move once. What came and went between two answers is not told: who
    runs on transitions wants to know where it stands now."""

    def __init__(self, now_s: float) -> None:
        self._told: dict[str, str] = {}
        self._vips: dict[str, tuple[str, str]] = {}
        self._role: str | None = None
        self._role_since_s = now_s
        self._role_reason = ""
        self._lost_at_s: float | None = now_s + LOST_S

    def heard(
        self, role: str, vips: Mapping[str, tuple[str, str]], whole: bool, now_s: float
    ) -> None:
        """State and reason by VIP: of all of them (`whole`), or of those that changed."""
        self._lost_at_s = None
        if whole:
            gone = {vip: (GONE, "no VIP of this group any more") for vip in self._vips}
            self._vips = gone | dict(vips)
        else:
            self._vips |= vips
        if role != self._role:
            self._role, self._role_since_s = role, now_s
            same = [why for state, why in vips.values() if state == role]
            self._role_reason = (same or [why for _, why in vips.values()] or [""])[0]

    def lost(self, now_s: float) -> None:
        """Failover does not answer."""
        if self._lost_at_s is None and self._role != GONE:
            self._lost_at_s = now_s + LOST_S

    @property
    def deadline_s(self) -> float | None:
        """When `due` has something to tell, if nothing is heard until then."""
        if self._lost_at_s is not None:
            return self._lost_at_s
        if self._role == SPLIT and self._told.get(GROUP) != SPLIT:
            return self._role_since_s + SPLIT_S
        return None

    def due(self, now_s: float) -> list[Move]:
        """The group first: it is what most hooks are for."""
        if self._lost_at_s is not None and now_s >= self._lost_at_s:
            self._lost_at_s = None
            self._role, self._role_reason = GONE, LOST
            self._vips = {vip: (GONE, LOST) for vip in self._vips}
        found: list[Move] = []
        settled = self._role != SPLIT or now_s >= self._role_since_s + SPLIT_S
        if self._role is not None and settled:
            found += self._move(GROUP, self._role, self._role_reason)
        for vip, (state, reason) in self._vips.items():
            found += self._move(vip, state, reason)
        return found

    def _move(self, subject: str, new: str, reason: str) -> list[Move]:
        old = self._told.get(subject)
        if old == new:
            return []
        self._told[subject] = new
        return [Move(subject, old, new, reason)]
