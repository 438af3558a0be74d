"""A command run to its end: how long it took, and what it cost.

Room: lab. Refuses to know what it does.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from carpool.errors import CarpoolError
from carpool.kernel.clock import monotonic_s


@dataclass(frozen=True, slots=True)
class Took:
    seconds: float
    cpu_s: float  # of the command and what it waited for
    said: str


def timed(argv: Sequence[str]) -> Took:
    """Raises CarpoolError with its own words when it fails."""
    with tempfile.TemporaryFile("w+") as output:
        begun_s = monotonic_s()
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        _pid, status, usage = os.wait4(process.pid, 0)
        took_s = monotonic_s() - begun_s
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read()
    if process.returncode:
        raise CarpoolError(f"`{' '.join(argv)}` failed: {said.strip()[-2000:]}")
    return Took(took_s, usage.ru_utime + usage.ru_stime, said)
