"""Who was not let in, and why: counted by cause, and told without letting anybody fill the log.

Room: agent. Refuses to know how somebody is found out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from carpool.kernel import clock
from carpool.kernel.journal import say

TELL_AGAIN_S = 60.0


class Refusals:
    """Each cause is told when it first happens, and then once a minute with how often it did.

    Causes are words of ours, so there are few; who it is comes from outside, and is only told.
    """

    def __init__(
        self,
        now_s: Callable[[], float] = clock.monotonic_s,
        tell: Callable[[str], None] = say,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._now_s = now_s
        self._tell = tell
        self._told: dict[str, tuple[float, int]] = {}  # by cause: when, and the count by then

    def add(self, cause: str, who: str, why: str) -> None:
        """Count it; tell it if this cause was not told within a minute."""
        self.counts[cause] += 1
        now_s = self._now_s()
        told_s, count = self._told.get(cause, (now_s - TELL_AGAIN_S, 0))
        if now_s - told_s < TELL_AGAIN_S:
            return
        self._told[cause] = (now_s, self.counts[cause])
        silent = self.counts[cause] - count - 1
        more = f"; {silent} more like it since the last line" if silent else ""
        self._tell(f"agent: refused {who}: {why}{more}")
