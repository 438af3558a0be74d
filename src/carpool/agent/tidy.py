"""Keeps the history quick to read: joins its packs when nothing else goes on.

Room: agent. When; what that is, `history.py` knows.
"""

from __future__ import annotations

import asyncio
import threading

from carpool.agent.history import History
from carpool.errors import CarpoolError
from carpool.kernel.journal import say

QUIET_S = 60.0  # after the last revision: they come in twos and threes


class Tidy:
    """`soon` may be called as often as one likes, in the agent's loop."""

    def __init__(self, history: History, quiet_s: float = QUIET_S) -> None:
        self._history = history
        self._quiet_s = quiet_s
        self._stop = threading.Event()
        self._task: asyncio.Task[None] | None = None

    def soon(self) -> None:
        """There is a revision more."""
        if self._task is not None:
            self._task.cancel()  # one that is under way has given way to that revision
        self._task = asyncio.create_task(self._run())

    @property
    def waits(self) -> bool:
        """Whether there was a revision since it was tidied last."""
        return self._task is not None and not self._task.done()

    def stop(self) -> None:
        """For good: a thread that is at it ends at once, and keeps no agent from ending."""
        self._stop.set()
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        await asyncio.sleep(self._quiet_s)
        try:
            if await asyncio.to_thread(self._history.maintain, self._stop):
                say("agent: history: joined what it is kept in")
        except CarpoolError as error:
            say(f"agent: history: {error}")
