"""What became of a change that waited on a peer, when nobody on this node decided it.

Room: agent. The peer times it by itself (`waiting.py`); here it is asked afterwards, so that
`carpool history --results` has the last word, too.
"""

from __future__ import annotations

import asyncio

from carpool.agent.results import WAITING, Results, Row
from carpool.agent.send import PREFIX, Sender
from carpool.errors import CarpoolError

MORE_S = 1.0  # than its time, so that the peer has put it back
AGAIN_S, TRIES_MAX = 2.0, 150
WORDS_MAX = 4096  # of a peer


class Lapses:
    """One for each agent."""

    def __init__(self, sender: Sender, results: Results) -> None:
        self._sender = sender
        self._results = results
        self._tasks: set[asyncio.Task[None]] = set()

    def follow(self, row: Row) -> None:
        """Ask when the time of this row is up, if it waits; whoever decides it first is told of."""
        number, within_s = row.get("number"), row.get("within_s")
        if row.get("outcome") == WAITING and isinstance(within_s, int | float):
            work = self._ask(str(row["peer"]), str(number), within_s + MORE_S)
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def resume(self) -> None:
        """What an agent before us would have asked."""
        newest = {row.get("peer"): row for row in await asyncio.to_thread(self._results.read)}
        for row in newest.values():
            self.follow(row)

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _ask(self, name: str, number: str, wait_s: float) -> None:
        outcome, why = "not known", ""
        for _ in range(TRIES_MAX):
            await asyncio.sleep(wait_s)
            wait_s = AGAIN_S
            try:
                peer = self._sender.peer(name)
                end = await peer.get(f"{PREFIX}/sync/{number}/outcome")
            except CarpoolError as error:
                why = error.message
                continue
            told = str(end.get("outcome") or "")[:WORDS_MAX]
            if end.get("step") == "end" and told not in ("", WAITING):
                outcome = "confirmed" if told == "applied" else told
                why = str(end.get("error") or "")[:WORDS_MAX]
                break
            why = "it is not over"
        await asyncio.to_thread(self._results.decided, name, outcome, error=why, number=number)
