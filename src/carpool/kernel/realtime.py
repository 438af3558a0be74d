"""Run before everybody else and never wait for the disk: real-time priority, locked memory.

Room: kernel. Refuses to decide: says what could not be had, and the process goes on without it.
"""

from __future__ import annotations

import ctypes
import os

PRIORITY = 20  # SCHED_RR 1..99: above every normal process, below the kernel's own threads (50)
# sys/mman.h: lock what is mapped and what will be, but only pages that are really used
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4


def be_realtime() -> list[str]:
    """Ask for SCHED_RR and mlockall(2); returns what was refused, in words (empty: all granted)."""
    refused: list[str] = []
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))
    except OSError as error:
        refused.append(
            f"no real-time priority ({error.strerror}): under load other processes may delay "
            "failover; grant CAP_SYS_NICE, or, to a kernel with RT_GROUP_SCHED that gives a cgroup "
            "none of its real-time, `sysctl kernel.sched_rt_runtime_us=-1`"
        )
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        reason = os.strerror(ctypes.get_errno())
        refused.append(
            f"memory is not locked ({reason}): swapping may delay failover; grant CAP_IPC_LOCK"
        )
    return refused
