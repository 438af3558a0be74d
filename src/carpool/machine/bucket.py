"""How often somebody may do something: so many a second, and so many at once after a pause.

Room: machine. Time is handed in; refuses to know what is allowed or refused.
"""

from __future__ import annotations


class Bucket:
    """Holds up to `burst` permits, full at first, and gets `per_s` a second."""

    def __init__(self, per_s: float, burst: int, now_s: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._left = float(burst)
        self._filled_s = now_s

    def take(self, now_s: float) -> bool:
        """Take a permit, if there is one."""
        gained = max(now_s - self._filled_s, 0.0) * self._per_s
        self._left = min(self._left + gained, self._burst)
        self._filled_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True
