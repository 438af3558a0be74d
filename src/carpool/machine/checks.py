"""When a check of the operator's counts as failing, and when that is told to failover.

Room: machine. Pure: told results and the time.

Rule 1: a check fails after `fall` failures in a row, and is well after `rise` successes; the first
        result of all decides at once.
Rule 2: what is the same on all nodes must not move the group. All nodes run a check at the same
        moments of the wall clock; a MASTER that got worse, and a backup that got better, say so
        LAG_S later than the others: by then the others have said so, too.
"""

from __future__ import annotations

from dataclasses import dataclass

LAG_S = 1.0
LEASE_S = 20.0  # failover forgets what the agent says if it says nothing for so long
TELL_EVERY_S = 5.0


def next_run_s(now_s: float, wall_s: float, interval_s: float) -> float:
    """The next moment (monotonic) that is a multiple of the interval on the wall clock. Not one
    that is almost now: whoever was woken a little early has run for it."""
    left_s = interval_s - wall_s % interval_s
    return now_s + (left_s if left_s > interval_s / 10 else left_s + interval_s)


@dataclass(slots=True)
class Tally:
    """Of one check. `failing` is None until there is a result."""

    failing: bool | None = None
    told: bool = False  # that it is failing
    count: int = 0  # results in a row that are otherwise than `failing`
    since_s: float = 0.0  # when `failing` changed

    @classmethod
    def adopted(cls, now_s: float) -> Tally:
        """Of one that failed when an agent before this one ended."""
        return cls(failing=True, told=True, since_s=now_s)

    def add(self, ok: bool, rise: int, fall: int, now_s: float) -> bool:
        """A result; whether it changed anything but from nothing to well."""
        before = self.failing
        if before is not None and ok is not before:
            self.count = 0
            return False
        self.count += 1
        if before is not None and self.count < (rise if ok else fall):
            return False
        self.failing, self.count, self.since_s = not ok, 0, now_s
        return before is not None or not ok

    def tell(self, is_master: bool, now_s: float) -> bool:
        """Whether failover is to count it as failing now."""
        if self.failing is not None and now_s >= self._tell_at_s(is_master):
            self.told = self.failing
        return self.told

    def deadline_s(self, is_master: bool) -> float | None:
        """When `tell` will say something else."""
        if self.failing is None or self.failing is self.told:
            return None
        return self._tell_at_s(is_master)

    def _tell_at_s(self, is_master: bool) -> float:
        return self.since_s + (LAG_S if self.failing is is_master else 0.0)
