"""How long events are left to gather, so that a wake-up serves many of them.

Room: machine. Pure: reads no clock, sleeps not. What it weighs, measured on two cores with 5,000
new TCP connections a second: to be woken for each event costs more than twice the CPU time of being
woken every few milliseconds, on both nodes, for TCP, TLS and cold caches cost the same for one
event as for fifty. While cores idle that is nobody's loss, and each event goes at once. When
forwarding wants the cores as well, entries are late on the peer by as much as events are left to
gather; should this node crash, the connections of these milliseconds are lost.
"""

from __future__ import annotations

# From so many events a second on: seconds to sleep with cores to spare, and without.
PAUSES = ((7000.0, 0.006, 0.010), (2000.0, 0.0, 0.004))
# Without: less of all cores' time was idle than the first; with again: more than the second, for
# gathering itself sets much free.
SCARCE, SPARE = 0.12, 0.5
RATE_OVER_S = 0.1  # what the rate is taken over


class Gathering:
    """Told of each look for events; says how long to sleep before the next one."""

    def __init__(self) -> None:
        self.scarce = False
        self._rate = 0.0  # events a second
        self._looked_s = 0.0

    def idle(self, share: float) -> None:
        """How idle the cores were lately: 0 to 1."""
        self.scarce = share < (SPARE if self.scarce else SCARCE)

    def pause_s(self, found: int, now_s: float) -> float:
        """Seconds to sleep after a look that found so many events; 0: be woken by the next one."""
        elapsed_s, self._looked_s = max(now_s - self._looked_s, 1e-6), now_s
        self._rate += min(elapsed_s / RATE_OVER_S, 1.0) * (found / elapsed_s - self._rate)
        for rate, spare_s, scarce_s in PAUSES:
            if self._rate > rate:
                return scarce_s if self.scarce else spare_s
        return 0.0
