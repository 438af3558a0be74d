"""Who has shown the right password, and not yet the second factor.

Room: web. Pure: time and chance are handed in. In memory, for five minutes; refuses to know HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

WAIT_S = 300.0
MAX = 64  # the one that waits longest makes room
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Step:
    """`password`: what was kept of it then. After a change of it this is nobody any more."""

    name: str
    password: str
    path: str  # where to go after it
    begun_s: float


class Halfway:
    def __init__(self, now_s: Callable[[], float], random_hex: Callable[[int], str]) -> None:
        self._now_s = now_s
        self._random_hex = random_hex
        self._by_digest: dict[str, Step] = {}

    def begin(self, name: str, password: str, path: str) -> str:
        """The key, for the form of the second step."""
        while len(self._by_digest) >= MAX:
            del self._by_digest[next(iter(self._by_digest))]
        key = self._random_hex(KEY_BYTES)
        self._by_digest[_digest(key)] = Step(name, password, path, self._now_s())
        return key

    def find(self, key: str) -> Step | None:
        step = self._by_digest.get(_digest(key))
        if step is None or self._now_s() - step.begun_s > WAIT_S:
            self.end(key)
            return None
        return step

    def end(self, key: str) -> None:
        self._by_digest.pop(_digest(key), None)


def _digest(key: str) -> str:
    return sha256(key.encode(errors="replace")).hexdigest()
