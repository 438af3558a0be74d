"""What systemd knows of a process that does not answer: whether it runs, and its last words.

Room: kernel. Asks `systemctl show`; the status line of a unit (`kernel/notify.py`) is kept until
the next start, in no file, so that a full disk does not lose it. Refuses to judge.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

BOOTED = Path("/run/systemd/system")  # sd_booted(3)
RUN_DIR = Path("/run/carpool")  # of the units; a process with another one is none of theirs
WAIT_S = 2.0
_NAMES = ("LoadState", "ActiveState", "SubState", "Result", "ConditionResult", "StatusText")


def of_unit(run_dir: Path, process: str) -> str:
    """One sentence, or nothing where no unit is."""
    if run_dir != RUN_DIR or not BOOTED.is_dir():
        return ""
    unit = f"carpool-{process}.service"
    try:
        done = subprocess.run(
            ["systemctl", "show", unit, *(f"--property={name}" for name in _NAMES)],
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return told(unit, dict(line.partition("=")[::2] for line in done.stdout.splitlines()))


def told(unit: str, shown: dict[str, str]) -> str:
    """Its properties in words."""
    if shown.get("LoadState") != "loaded":
        return ""
    state, result = f"{shown.get('ActiveState')} ({shown.get('SubState')})", shown.get("Result", "")
    words = f"{unit} is {state}"
    if result not in ("", "success"):
        words += f", result {result}"
    if shown.get("ActiveState") == "inactive" and shown.get("ConditionResult") == "no":
        words += ", as there is no configuration"
    status = shown.get("StatusText", "")
    return f"{words}; it said: {status}" if status else words
