"""Times on the command line: `30s`, `5m`, `1h`.

Room: cli.
"""

from __future__ import annotations

import argparse
import re

CONFIRM_MAX_S = 24 * 3600
_TIME = re.compile(r"([1-9][0-9]{0,5})(s|m|h)?")
_UNITS_S = {"s": 1, "m": 60, "h": 3600}


def within(text: str) -> int:
    """Seconds, CONFIRM_MAX_S at most. argparse's error for anything else."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a time such as 30s, 5m or 1h")
    seconds = int(match[1]) * _UNITS_S[match[2] or "s"]
    if seconds > CONFIRM_MAX_S:
        raise argparse.ArgumentTypeError(f"found {text}, expected 24h at most")
    return seconds
