"""A wall clock of its own for a process: libfaketime, which leaves the monotonic clocks alone.

Room: lab. No namespace has a CLOCK_REALTIME of its own, and that of the machine is not ours to set
(docs/decisions/0089-a-wall-clock-of-its-own.md).
"""

from __future__ import annotations

import os
from pathlib import Path

from carpool.errors import CarpoolError
from carpool.kernel.clock import wall_us

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
# It gets clock_nanosleep(2) with an absolute time wrong, which is how Python sleeps (EINVAL).
SITE = """import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds)
"""


class WallClock:
    """Processes that are started with `variables` go by it, and look at it each time. `seen` is
    where they see `directory`, which may move."""

    def __init__(self, directory: Path, seen: str = "", python_path: str = "") -> None:
        if not LIBRARIES:
            raise CarpoolError("there is no libfaketime on this machine", hint="install faketime")
        directory.mkdir(parents=True)
        self.directory = directory
        (directory / "sitecustomize.py").write_text(SITE)
        self.right()
        seen = seen or str(directory)
        path = python_path or os.environ.get("PYTHONPATH", "")
        self.variables = {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": f"{seen}/off",
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "PYTHONPATH": f"{seen}:{path}" if path else seen,
        }

    @property
    def wrapper(self) -> tuple[str, ...]:
        """A command that becomes the process."""
        return ("env", *(f"{name}={value}" for name, value in self.variables.items()))

    def right(self) -> None:
        """As somebody has set it."""
        self._write("+0")

    def step(self, seconds: int) -> None:
        """So far from what is right."""
        self._write(f"{seconds:+d}")

    def stand_in_1970(self) -> None:
        """A minute after power came, on a machine whose battery is empty."""
        self._write(f"-{wall_us() // 1_000_000 - 60}")

    def _write(self, text: str) -> None:
        """What is half written would be no time at all."""
        fresh = self.directory / "off.new"
        fresh.write_text(text)
        fresh.replace(self.directory / "off")
