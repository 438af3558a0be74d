"""Notes about what goes on and on: told at once, and then once in a while.

Room: machine. Knows neither the clock nor who listens.
"""

from __future__ import annotations

from carpool.machine.effects import Effect, Note
from carpool.model.config import VhostKey

TELL_AGAIN_S = 60.0  # a persisting fault is told once a minute
TOPICS_MAX = 1000

Topic = tuple[object, ...]


class Teller:
    """What has been told, and when. Topics are bounded by the configuration but for senders'
    addresses: when there are too many, all are forgotten."""

    def __init__(self) -> None:
        self._told_s: dict[Topic, float] = {}

    def tell(
        self, topic: Topic, kind: str, text: str, now_s: float, key: VhostKey | None = None
    ) -> list[Effect]:
        """A Note, or nothing when this topic was told within TELL_AGAIN_S."""
        told_s = self._told_s.get(topic)
        if told_s is not None and now_s - told_s < TELL_AGAIN_S:
            return []
        if len(self._told_s) >= TOPICS_MAX:
            self._told_s.clear()
        self._told_s[topic] = now_s
        return [Note(kind, text, key)]
