"""What waits for one hook: it runs serially with itself, and the newest state wins.

Room: machine. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Subject(Protocol):
    @property
    def subject(self) -> str: ...


T = TypeVar("T", bound=Subject)


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    """`overtaken`: how many older ones about the same subject were never run for it."""

    what: T
    overtaken: int = 0


class HookQueue(Generic[T]):
    """At most one waiting for each subject, oldest first."""

    def __init__(self) -> None:
        self._waiting: dict[str, Job[T]] = {}
        self.running = False

    def offer(self, what: T) -> None:
        """In place of what waits about the same subject, behind all others."""
        older = self._waiting.pop(what.subject, None)
        self._waiting[what.subject] = Job(what, 0 if older is None else older.overtaken + 1)

    def take(self) -> Job[T] | None:
        """What to run now; None while one runs, or for nothing. `ended` says when it is over."""
        if self.running or not self._waiting:
            return None
        self.running = True
        return self._waiting.pop(next(iter(self._waiting)))

    def ended(self) -> None:
        self.running = False

    def __len__(self) -> int:
        return len(self._waiting)
