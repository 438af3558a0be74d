"""Tells what goes wrong on stderr, but the same trouble seldom.

Room: service. Bounded; counters and status always tell.
"""

from __future__ import annotations

from collections.abc import Callable

from carpool.kernel import journal

EVERY_S = 60.0
TOLD_MAX = 256


class Seldom:
    """`process` is its first word."""

    def __init__(
        self, process: str, now_s: Callable[[], float], say: Callable[[str], None] = journal.say
    ) -> None:
        self._process = process
        self._now_s = now_s
        self._say = say
        self._told: dict[str, float] = {}

    def __call__(self, key: str, text: str) -> None:
        """`key` tells kinds of trouble from each other."""
        now_s = self._now_s()
        if now_s < self._told.get(key, -EVERY_S) + EVERY_S:
            return
        if len(self._told) >= TOLD_MAX:
            self._told.clear()
        self._told[key] = now_s
        self._say(f"{self._process}: {text}")
