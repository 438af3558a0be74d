"""What this node sent, and its peers keep only when somebody confirms it.

Room: agent. The peers time it themselves (`waiting.py`); here they are told, and what then counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from carpool.agent.apply import NOTHING_WAITS
from carpool.agent.job import Event
from carpool.agent.record import Agreed, Record
from carpool.agent.results import Results, Tally
from carpool.agent.send import PREFIX, WORK_WAIT_S, Sender
from carpool.errors import CarpoolError
from carpool.kernel.journal import say


class Unconfirmed:
    """`agreed` is what counts once it is confirmed; empty when nothing is known to wait."""

    def __init__(
        self,
        sender: Sender,
        record: Record,
        results: Results,
        settle: Callable[[], AsyncIterator[Event]],
    ) -> None:
        self._sender = sender
        self._settle_all = settle
        self._record = record
        self._results = results
        self.agreed: dict[str, Agreed] = {}

    async def on_peers(self, names: Sequence[str], what: str) -> dict[str, Mapping[str, object]]:
        """`confirm` or `take-back` on these peers, or on all; by name what came of it."""
        found: dict[str, Mapping[str, object]] = {}
        for peer in self._sender.peers(names):
            try:
                found[peer.name] = await peer.post(f"{PREFIX}/{what}", {}, timeout_s=WORK_WAIT_S)
            except CarpoolError as error:
                waited = not error.message.endswith(NOTHING_WAITS)
                told = {"error": error.message, "hint": error.hint, "waited": waited}
                found[peer.name] = told
            else:
                tally = Tally(peer.name, "", "")
                outcome = "confirmed" if what == "confirm" else "put back"
                tally.take({"step": "end", "outcome": outcome})
                await asyncio.to_thread(self._results.add, tally.row)
        kept = any("error" not in one for one in found.values())
        if what == "confirm" and kept:
            await asyncio.to_thread(self._record.write, self.agreed)
            await self._settle(found)
        if (what == "confirm" and kept) or not names:
            self.agreed = {}
        return found

    async def _settle(self, found: dict[str, Mapping[str, object]]) -> None:
        """After a confirmation: in `found`, whom the group still waits for, if it does."""
        try:
            async for event in self._settle_all():
                without = event.get("without")
                for name, why in without.items() if isinstance(without, dict) else ():
                    told = f"the change of the group is not settled without it: {why}"
                    found[name] = {**found.get(name, {}), "group": told}
                    say(f"agent: {name}: {told}")
        except CarpoolError as error:
            say(f"agent: the change of the group is not settled: {error}")
