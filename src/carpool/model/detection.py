"""`[detection]` of group.toml: how soon a peer that died is missed.

Room: model. Values only; `machine/watch.py` and the failover process go by them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

INTERVAL_MIN_MS = 10
INTERVAL_MAX_MS = 1000
MULTIPLIER = 3  # of packets that may be missing


@dataclass(frozen=True, slots=True)
class Detection:
    """BFD with each peer on each link. It takes nothing from CARP where a peer has none."""

    enabled: bool = True
    interval_ms: int = 50


STANDARD = Detection()


def ranges(detection: Detection) -> Iterator[tuple[str, str, str]]:
    """What is out of its range: key, found, expected."""
    if not INTERVAL_MIN_MS <= detection.interval_ms <= INTERVAL_MAX_MS:
        expected = f'a time from "{INTERVAL_MIN_MS}ms" to "{INTERVAL_MAX_MS}ms"'
        yield "interval", f'"{detection.interval_ms}ms"', expected
