"""An answer that is asked for once for all who want it at the same time.

Room: web. For what strangers may ask for: however many do, the agent is asked a few times a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from carpool.agent.objectlines import Answer
from carpool.errors import CarpoolError

FRESH_S = 0.3  # that an answer is given again
POLL_WAIT_S = 3.0  # for the agent: pollers wait for 5 to 10 s, and a stopped process is told in 3


class AtOnce:
    def __init__(self, ask: Callable[[], Awaitable[Answer]], now_s: Callable[[], float]) -> None:
        self._ask = ask
        self._now_s = now_s
        self._lock = asyncio.Lock()
        self._until_s = 0.0
        self._found: Answer | CarpoolError | None = None

    async def get(self) -> Answer:
        """Raises the CarpoolError that came instead."""
        async with self._lock:
            if self._found is None or self._now_s() >= self._until_s:
                try:
                    self._found = await self._ask()
                except CarpoolError as error:
                    self._found = error
                self._until_s = self._now_s() + FRESH_S
            found = self._found
        if isinstance(found, CarpoolError):
            raise found
        return found
