"""CPU time grows with work, and a page that is shared counts less."""

from __future__ import annotations

import os
import subprocess
import sys

from carpool.lab.cost import cpu_s, family, memory_kb, with_children_s


def test_what_a_process_costs_is_read_from_the_kernel() -> None:
    pid = os.getpid()
    before_s = cpu_s(pid)
    total = sum(number * number for number in range(200_000))
    assert total and cpu_s(pid) > before_s
    assert 0 < memory_kb(pid, "Pss") <= memory_kb(pid, "Rss")
    assert family(pid)[0] == pid


def test_children_that_have_ended_count() -> None:
    pid = os.getpid()
    before_s, alone_s = with_children_s(pid), cpu_s(pid)
    work = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", work], check=True)
    assert with_children_s(pid) - before_s > 0.25
    assert cpu_s(pid) - alone_s < 0.25
