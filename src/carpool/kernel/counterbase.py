"""Where the counter of our adverts starts: by the wall clock, but once a boot.

Room: kernel. Peers refuse a counter that goes back while they remember us. A process that is
started again after the wall clock was set back would be refused for a master-down interval, and
its goodbye with it; so the wall clock is asked once a boot. Refuses to know what it is for.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

FILE = "counter"  # in the run directory
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MAX_US = 1 << 52  # the year 2112: a number from a file is believed up to here


def start_us(run_dir: Path, now_s: float, wall_us: int, boot_id: Path = BOOT_ID) -> int:
    """Microseconds to count on from at `now_s` (seconds since boot). Without a file that can be
    read or written it is the wall time."""
    path, now_us = run_dir / FILE, int(now_s * 1_000_000)
    try:
        boot = boot_id.read_text(encoding="ascii").strip()
    except (OSError, UnicodeError):
        return wall_us
    base_us = _kept(path, boot)
    if base_us is None:
        base_us = wall_us - now_us
        _keep(path, f"{boot} {base_us}\n")
    return base_us + now_us


def _kept(path: Path, boot: str) -> int | None:
    try:
        of_boot, base_us = path.read_text(encoding="ascii").split()
        base = int(base_us)
    except (OSError, ValueError):
        return None
    return base if of_boot == boot and abs(base) < _MAX_US else None


def _keep(path: Path, text: str) -> None:
    """Whole or not at all. Where it cannot be, the next process asks the wall clock, too."""
    fresh = path.with_suffix(".new")
    with contextlib.suppress(OSError):
        fresh.write_text(text, encoding="ascii")
        fresh.replace(path)
