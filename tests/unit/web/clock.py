"""A clock that tests set, and chance that is none."""

from __future__ import annotations

from itertools import count


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0
        self._numbers = count()

    def __call__(self) -> float:
        return self.now_s

    def random_hex(self, size: int) -> str:
        return f"{next(self._numbers):0{size * 2}x}"
