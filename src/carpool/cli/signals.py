"""Signals that end a verb, taken like Ctrl-C.

Room: cli. For verbs that must put something back before they end.
"""

from __future__ import annotations

import signal
from types import FrameType


def interrupt_on(*numbers: signal.Signals) -> None:
    """From now on these raise KeyboardInterrupt."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, interrupt)
