"""What takes too long, or costs too much, to be asked at each look: an answer of some seconds ago.

Room: web. Asks while somebody looks, once for all who do; refuses to know what is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from carpool.agent.objectlines import Answer
from carpool.errors import CarpoolError

FIRST_WAIT_S = 0.2  # of who looks first: the rest of a page is there already


class Seen(NamedTuple):
    answer: Answer | None  # None: there is none yet, or only `error`
    error: CarpoolError | None
    age_s: float


class Lately:
    """One question, asked at most every `every_s`."""

    def __init__(
        self, ask: Callable[[], Awaitable[Answer]], now_s: Callable[[], float], every_s: float
    ) -> None:
        self._ask = ask
        self._every_s = every_s
        self._now_s = now_s
        self._task: asyncio.Task[None] | None = None
        self._seen = Seen(None, None, 0.0)
        self._asked_s: float | None = None
        self._seen_s = 0.0

    async def look(self) -> Seen:
        """What came last. Waits for an answer only when none ever came, and not for long."""
        now_s = self._now_s()
        is_due = self._asked_s is None or now_s - self._asked_s >= self._every_s
        if is_due and (self._task is None or self._task.done()):
            self._asked_s = now_s
            self._task = asyncio.create_task(self._renew())
        if self._task is not None and self._seen.answer is None and self._seen.error is None:
            await asyncio.wait([self._task], timeout=FIRST_WAIT_S)
        return self._seen._replace(age_s=max(0.0, self._now_s() - self._seen_s))

    async def _renew(self) -> None:
        try:
            self._seen = Seen(await self._ask(), None, 0.0)
        except CarpoolError as error:
            self._seen = Seen(None, error, 0.0)
        self._seen_s = self._now_s()
