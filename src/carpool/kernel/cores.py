"""How busy this machine's cores are, as the kernel counts it.

Room: kernel. Refuses to know what follows from it.
"""

from __future__ import annotations

import os

from carpool.kernel.clock import monotonic_s

_UPTIME = "/proc/uptime"  # seconds since boot, and idle seconds summed over all cores: proc(5)
_ALL = "SC_NPROCESSORS_ONLN"


class Idle:
    """The share of time that the cores were idle. In a container, those of the host."""

    def __init__(self) -> None:
        self._seen = self._read()

    def share(self) -> float:
        """Since the call before, 0 to 1; the kernel counts in hundredths of a second, so calls
        should be tenths apart. 1 where it does not tell."""
        before_s, idle_before_s = self._seen
        self._seen = now_s, idle_s = self._read()
        elapsed_s = now_s - before_s
        if elapsed_s <= 0 or idle_s == 0:
            return 1.0
        return min(max((idle_s - idle_before_s) / (elapsed_s * os.sysconf(_ALL)), 0.0), 1.0)

    @staticmethod
    def _read() -> tuple[float, float]:
        try:
            with open(_UPTIME, encoding="ascii") as file:
                return monotonic_s(), float(file.read().split()[1])
        except (OSError, ValueError, IndexError):
            return monotonic_s(), 0.0
