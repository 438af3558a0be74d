"""A change that waits to be confirmed, and the time that it has for that.

Room: agent. `apply.py` keeps it, or puts it back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from carpool.agent.reactions import Reach
from carpool.kernel import clock
from carpool.kernel.transaction import Transaction


@dataclass(slots=True)
class Waiting:
    """A change that is put back unless somebody confirms it."""

    transaction: Transaction
    reach: Reach
    what: str
    by: str
    within_s: float
    keep: Callable[[], Awaitable[None]] | None
    until_s: float = 0.0
    ending: bool = False  # somebody keeps it or puts it back already
    _timer: asyncio.Task[None] | None = None

    def begin(self, time_is_up: Callable[[Waiting], Awaitable[None]]) -> None:
        async def wait() -> None:
            await asyncio.sleep(self.within_s)
            self.ending = True
            await time_is_up(self)

        self.until_s = clock.monotonic_s() + self.within_s
        self._timer = asyncio.create_task(wait())

    def end(self) -> None:
        self.ending = True
        if self._timer is not None:
            self._timer.cancel()
