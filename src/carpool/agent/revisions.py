"""Writes the revisions of this node, one after the other, and none in the way of a transfer.

Room: agent. When, and what becomes of one that cannot be written; what it is, `history.py` knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from carpool.agent.history import History
from carpool.agent.historyformat import Origin
from carpool.agent.plan import Plan
from carpool.agent.tidy import Tidy
from carpool.errors import CarpoolError
from carpool.kernel import clock
from carpool.kernel.journal import say

GIVES_WAY_S = 60.0  # at most: a file that is edited meanwhile cannot be kept as it was sent


class Revisions:
    """In the agent's loop; `root` is what paths of entries are below."""

    def __init__(self, history: History, tidy: Tidy, root: Path, node: str) -> None:
        self._history = history
        self._tidy = tidy
        self._root = root
        self._node = node
        self._writing = asyncio.Lock()
        self._soon: set[asyncio.Task[None]] = set()
        self._way = asyncio.Event()  # is free
        self._way.set()

    def give_way(self) -> None:
        """What is to be remembered soon, from now on: after `go_on`."""
        self._way.clear()

    def go_on(self) -> None:
        self._way.set()

    async def remember(
        self, plans: Iterable[Plan], *, kind: Origin, by: str, reason: str, before: bool
    ) -> None:
        """A revision; a history that cannot be written is told, and hinders no change."""
        self.go_on()  # somebody waits for what is before this one
        await self._write(plans, kind, by, reason, before=before)

    def remember_soon(self, plans: Iterable[Plan], *, kind: Origin, by: str, reason: str) -> None:
        """The same, without anybody waiting for it: the first revision of large files takes some
        seconds. The next change waits, for it begins with a revision of what it finds."""
        task = asyncio.create_task(self._write(plans, kind, by, reason))
        self._soon.add(task)
        task.add_done_callback(self._soon.discard)

    async def settled(self) -> None:
        """When all that was to be remembered is written."""
        self.go_on()
        await asyncio.gather(*self._soon)

    async def _write(
        self, plans: Iterable[Plan], kind: Origin, by: str, reason: str, *, before: bool = False
    ) -> None:
        when_s = clock.wall_us() / 1e6
        entries = {plan.section.name: plan.have if before else plan.want for plan in plans}
        try:
            async with self._writing:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._way.wait(), GIVES_WAY_S)
                await asyncio.to_thread(
                    self._history.commit,
                    entries,
                    lambda entry: self._root / entry.path.lstrip("/"),
                    author=by,
                    node=self._node,
                    reason=reason,
                    kind=kind,
                    when_s=when_s,
                )
            self._tidy.soon()
        except CarpoolError as error:
            say(f"agent: history: {error}")
