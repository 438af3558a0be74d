"""What a process has cost so far: its children, its CPU time, its memory.

Room: lab. Reads /proc only; refuses to know which process it is.
"""

from __future__ import annotations

import os
from pathlib import Path

from carpool.errors import CarpoolError


def family(pid: int) -> list[int]:
    """A process and its children (proc_pid_task_children of proc(5))."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [pid, *(int(child) for child in children)]


def cpu_s(pid: int) -> float:
    """Seconds on a CPU so far, to the nanosecond (/proc/PID/schedstat, sched-stats.rst)."""
    nanoseconds = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        nanoseconds += int((task / "schedstat").read_text(encoding="ascii").split()[0])
    return nanoseconds / 1e9


def memory_kb(pid: int, field: str) -> int:
    """`Pss` shares a page among those who map it, `Rss` does not (proc_pid_smaps(5))."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise CarpoolError(f"/proc/{pid}/smaps_rollup has no {field}")


def with_children_s(pid: int) -> float:
    """Seconds on a CPU so far, with those of children that have ended (proc_pid_stat(5), fields 14
    to 17); to a hundredth."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    # The name in parentheses may hold anything; what follows the last one starts with field 3.
    fields = stat[stat.rindex(")") + 2 :].split()
    return sum(map(int, fields[14 - 3 : 18 - 3])) / os.sysconf("SC_CLK_TCK")
