"""Work that goes on to its end whoever watches: each step is an event, kept for all who ask.

Room: agent. A cut link or a closed terminal must not stop a change halfway; refuses to know what is
done.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping

from carpool.agent.objectlines import ALIVE
from carpool.errors import CarpoolError
from carpool.kernel.journal import say

Event = Mapping[str, object]
LAST = ("end", "over")  # steps after which there is nothing
EVENTS_MAX = 100_000  # a job of more is a bug


class Job:
    """Runs `steps` as a task. Its last event is one of LAST: {"step": "end", "outcome": ...}, with
    `error` and `hint` when it failed, if the steps give none themselves."""

    def __init__(self, number: str, what: str, by: str, steps: AsyncIterator[Event]) -> None:
        self.number = number
        self.what = what
        self.by = by  # who asked for it, in words
        self.events: list[Event] = []
        self.ended = False
        self._news = asyncio.Condition()
        self._task = asyncio.create_task(self._run(steps))

    async def follow(self, alive_s: float | None = None) -> AsyncGenerator[Event, None]:
        """All events from the first on, as they come, to the last one. With `alive_s`, also ALIVE
        whenever there was none for so long: who listens over a wire knows that we are there."""
        told = 0
        while not (self.ended and told == len(self.events)):
            try:
                async with asyncio.timeout(alive_s):
                    await self._more_than(told)
            except TimeoutError:
                yield ALIVE
                continue
            fresh = self.events[told:]
            told += len(fresh)
            for event in fresh:
                yield event

    async def _more_than(self, told: int) -> None:
        async with self._news:
            await self._news.wait_for(lambda: len(self.events) > told or self.ended)

    async def wait(self) -> Event:
        """The last event."""
        async for _event in self.follow():
            pass
        return self.events[-1]

    async def _run(self, steps: AsyncIterator[Event]) -> None:
        last: dict[str, object] = {}
        try:
            async for event in steps:
                await self._tell(event)
                assert len(self.events) < EVENTS_MAX
            if not self.events or self.events[-1].get("step") not in LAST:
                last = {"step": "end", "outcome": "done"}
        except CarpoolError as error:
            last = {"step": "end", "outcome": "failed", "error": error.message, "hint": error.hint}
        except asyncio.CancelledError:
            text = "cut short: the agent ended"
            last = {"step": "end", "outcome": "failed", "error": text, "hint": ""}
            raise
        except BaseException as error:  # a bug: told to who waits, and to the log by asyncio
            last = {"step": "end", "outcome": "failed", "error": f"a bug: {error!r}", "hint": ""}
            raise
        finally:
            if last:
                await self._tell(last)
            await self._end()

    async def _end(self) -> None:
        last = self.events[-1]
        outcome = "failed" if last.get("failed") else "done"  # of several: peers that failed
        said = (last.get("outcome", outcome), last.get("error", ""))
        say(f"agent: {self.what} of {self.by}: {' '.join(map(str, filter(None, said)))}")
        async with self._news:
            self.ended = True
            self._news.notify_all()

    async def _tell(self, event: Event) -> None:
        async with self._news:
            self.events.append(event)
            self._news.notify_all()
