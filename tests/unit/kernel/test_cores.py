"""The share of idle time, beside what /proc/stat counts."""

from __future__ import annotations

import os
from pathlib import Path

from carpool.kernel import clock
from carpool.kernel.cores import Idle


def idle_ticks() -> tuple[int, int]:
    """Of all cores since boot: idle, and all. proc(5): user nice system idle iowait irq softirq
    steal."""
    numbers = Path("/proc/stat").read_text(encoding="ascii").split("\n")[0].split()[1:9]
    return int(numbers[3]), sum(map(int, numbers))


def test_it_is_what_proc_stat_says_too() -> None:
    idle, before = Idle(), idle_ticks()
    until_s = clock.monotonic_s() + 1
    while clock.monotonic_s() < until_s:  # one core at least is busy
        pass
    share, after = idle.share(), idle_ticks()
    expected = (after[0] - before[0]) / (after[1] - before[1])
    assert abs(share - expected) < 0.15
    assert share <= 1 - 0.7 / (os.cpu_count() or 1)


def test_twice_at_once_is_no_harm() -> None:
    idle = Idle()
    for _ in range(100):
        assert 0 <= idle.share() <= 1
