"""CPU time grows with work, and a page that is shared counts less."""

from __future__ import annotations

import os

from carpool.lab.cost import cpu_s, family, memory_kb


def test_what_a_process_costs_is_read_from_the_kernel() -> None:
    pid = os.getpid()
    before_s = cpu_s(pid)
    total = sum(number * number for number in range(200_000))
    assert total and cpu_s(pid) > before_s
    assert 0 < memory_kb(pid, "Pss") <= memory_kb(pid, "Rss")
    assert family(pid)[0] == pid
