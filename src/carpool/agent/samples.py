"""The last hour of state replication: what the chart of the status page is drawn from.

Room: agent. In memory alone, and bounded: an agent that starts has no past.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from carpool.api.control import Answer
from carpool.errors import CarpoolError

EVERY_S = 10.0
SPAN_S = 3600.0


@dataclass(frozen=True, slots=True)
class Sample:
    at_s: float
    entries: int | None  # None: states did not answer
    out_per_s: float | None  # requests to all peers
    in_per_s: float | None


class Samples:
    """`states` asks the states process of this node."""

    def __init__(
        self,
        states: Callable[[], Awaitable[Answer | CarpoolError | None]],
        now_s: Callable[[], float],
    ) -> None:
        self._states = states
        self._now_s = now_s
        self._kept: deque[Sample] = deque(maxlen=int(SPAN_S / EVERY_S) + 1)

    async def run(self) -> None:
        while True:
            begun_s = self._now_s()
            self.add(await self._states(), begun_s)
            await asyncio.sleep(max(0.0, begun_s + EVERY_S - self._now_s()))

    def add(self, states: Answer | CarpoolError | None, now_s: float) -> None:
        """What states answered, if anything."""
        told: Answer = states if isinstance(states, dict) else {}
        entries = told.get("entries")
        peers = told.get("peers")
        rows = [one for one in peers if isinstance(one, dict)] if isinstance(peers, list) else []
        self._kept.append(
            Sample(
                now_s,
                entries if isinstance(entries, int) else None,
                _sum(rows, "sent_per_s") if told else None,
                _sum(rows, "received_per_s") if told else None,
            )
        )

    def told(self) -> dict[str, object]:
        """As JSON, oldest first."""
        now_s = self._now_s()
        rows = [
            {
                "ago_s": round(now_s - one.at_s, 1),
                "entries": one.entries,
                "out_per_s": one.out_per_s,
                "in_per_s": one.in_per_s,
            }
            for one in self._kept
            if now_s - one.at_s <= SPAN_S
        ]
        return {"every_s": EVERY_S, "span_s": SPAN_S, "samples": rows}


def _sum(rows: Sequence[Mapping[str, object]], key: str) -> float:
    values = (row.get(key) for row in rows)
    return round(sum(value for value in values if isinstance(value, int | float)), 1)
