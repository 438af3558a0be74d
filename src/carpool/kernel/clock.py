"""The only reader of clocks: monotonic seconds for decisions, wall time for people.

Room: kernel. Everything that decides is handed `now_s`; it never asks. It refuses to know what the
time is used for.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta


def monotonic_s() -> float:
    """Seconds on a clock that never steps back and goes on in suspend (CLOCK_BOOTTIME): a master
    that was suspended must notice that its time is over, before it says anything."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def suspended_s() -> float:
    """For how long this machine was suspended since it booted."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


def wall_us() -> int:
    """Microseconds since 1970; steps when an operator or NTP sets the clock. Never for timers."""
    return time.time_ns() // 1000


def wall_s() -> float:
    """Seconds since 1970, for what outlives a process or is agreed with other machines: codes and
    tokens of people. Never for timers."""
    return time.time()


def wall_iso(in_s: float = 0.0) -> str:
    """The wall time, now or in some seconds, as RFC 3339 in UTC with milliseconds:
    `2026-03-01T04:05:06.789Z`."""
    return (
        (datetime.now(UTC) + timedelta(seconds=in_s))
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def sleep_s(seconds: float) -> None:
    """Pause between two polls of a condition. Services wait in a Poller, but for the milliseconds
    in which `states` under load lets events gather."""
    time.sleep(seconds)
