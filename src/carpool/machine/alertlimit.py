"""How often the same thing is told: at most so many times an hour, and the last time says so.

Room: machine. Pure.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

HOUR_S = 3600.0
ALL_MAX = 60  # messages an hour about everything together
_ALL = ""


@dataclass(slots=True)
class _Thing:
    times_s: deque[float] = field(default_factory=deque)
    kept_back: int = 0


class Limit:
    def __init__(self) -> None:
        self._things: dict[str, _Thing] = {}

    def take(self, key: str, per_hour: int, now_s: float, *, fresh: bool = True) -> str | None:
        """What is to be said beside it, "" for nothing; None: it is kept back. `fresh`: it was not
        asked for before."""
        self._forget(now_s)
        thing = self._things.setdefault(key, _Thing())
        everything = self._things.setdefault(_ALL, _Thing())
        if len(thing.times_s) >= per_hour or len(everything.times_s) >= ALL_MAX:
            thing.kept_back += fresh
            return None
        thing.times_s.append(now_s)
        everything.times_s.append(now_s)
        notes = []
        kept_back = thing.kept_back - (not fresh)  # this one is no longer
        if kept_back > 0:
            notes.append(f"{kept_back} messages about this were kept back before.")
        thing.kept_back = 0
        if len(thing.times_s) >= per_hour:
            wait_min = int((thing.times_s[0] + HOUR_S - now_s) / 60) + 1
            notes.append(
                f"This is message {per_hour} about this within an hour: nothing more is sent about "
                f"it for {wait_min} minutes. `carpool status` tells how it stands."
            )
        return " ".join(notes)

    def _forget(self, now_s: float) -> None:
        for key in list(self._things):
            times_s = self._things[key].times_s
            while times_s and now_s - times_s[0] >= HOUR_S:
                times_s.popleft()
            if not times_s and not self._things[key].kept_back:
                del self._things[key]
