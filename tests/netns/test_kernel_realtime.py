"""Priority and locked memory: had as root, and told in words where they are refused."""

from __future__ import annotations

import subprocess
import sys

ASK = """
import os
from carpool.kernel.realtime import be_realtime
print(*be_realtime(), sep="\\n")
locked = [line for line in open("/proc/self/status") if line.startswith("VmLck")]
print(os.sched_getscheduler(0) == os.SCHED_RR, int(locked[0].split()[1]) > 0)
"""


def asked(*wrapper: str) -> list[str]:
    argv = [*wrapper, sys.executable, "-c", ASK]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.split("\n")[:-1]


def test_root_gets_both() -> None:
    assert asked() == ["", "True True"]


def test_without_the_capabilities_it_goes_on_and_says_what_to_grant() -> None:
    without = "-sys_nice,-ipc_lock"
    told = asked(
        "setpriv", f"--bounding-set={without}", f"--inh-caps={without}", "prlimit", "--memlock=0"
    )
    priority, memory, what_it_is = told
    assert "no real-time priority (Operation not permitted)" in priority
    assert "CAP_SYS_NICE" in priority and "sched_rt_runtime_us" in priority
    assert "memory is not locked" in memory and "CAP_IPC_LOCK" in memory
    assert what_it_is == "False False"
