"""What this node sent, and its peers keep only when somebody confirms it.

Room: agent. The peers time it themselves (`waiting.py`); here they are told, and what then counts.
So does failover for the group.toml of this node: all nodes keep it, or none; but for those that
were left out, as they are away (`absence.py`). It is on the disk, too: who confirms it may ask
another agent than the one that sent it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from carpool.agent.apply import NOTHING_WAITS
from carpool.agent.client import PeerClient
from carpool.agent.group import GroupFile
from carpool.agent.job import Event
from carpool.agent.record import Agreed, Record, write_whole
from carpool.agent.results import Results
from carpool.agent.send import PREFIX, WORK_WAIT_S, Sender, Wish
from carpool.api.sections import CARPOOL
from carpool.errors import CarpoolError
from carpool.kernel.journal import say

SETTLE_TRIES_MAX, SETTLE_AGAIN_S = 30, 2.0  # while peers put back what nobody confirmed
GROUP_CHANGE = "the change of the group"
LEFT_OUT = "left out"  # the outcome of who is away
STILL = "its processes go by the one before, and the file stays as it is"
_ALREADY = (
    "went by this group.toml before (`carpool apply`) and keeps it: if nobody confirms it, only "
    "the peers put it back, and what was before counts, too, until the next `carpool sync`"
)
_GONE = "this node has put its group.toml back meanwhile, so the peers were told to do so, too"
_AGAIN = "the edit is kept as group.toml.not-confirmed; was failover started anew?"


class Node(Protocol):
    """Whose change it is."""

    name: str
    group: GroupFile
    state_dir: Path


class Unconfirmed:
    """`agreed` is what counts once it is confirmed; empty when nothing is known to wait."""

    def __init__(
        self,
        sender: Sender,
        record: Record,
        results: Results,
        settle: Callable[[], AsyncIterator[Event]],
        node: Node,
    ) -> None:
        self._sender = sender
        self._settle_all = settle
        self._record = record
        self._results = results
        self._node = node
        self.agreed: dict[str, Agreed] = {}
        self._of_group = False  # this node waits with them
        self._gone = False  # it did, and put it back: they may wait still
        self._without: frozenset[str] = frozenset()  # they are away, and neither wait nor decide
        self._settling: asyncio.Task[None] | None = None
        self._file = node.state_dir / "sync" / "unconfirmed.json"  # while this node waits

    def forget(self, *, without: Collection[str] = ()) -> None:
        """Whatever was sent before."""
        self.agreed, self._gone, self._without = {}, False, frozenset(without)
        self._wait_no_more()

    def targets(self, names: Sequence[str]) -> list[PeerClient]:
        """These peers, or all that are not left out."""
        found = self._sender.peers(names)
        return found if names else [one for one in found if one.name not in self._without]

    async def resume(self) -> None:
        """What an agent before us sent. Where it waits no more, all nodes may be one by now."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            told = json.loads(await asyncio.to_thread(self._file.read_text, "utf-8"))
            agreed = {str(name): Agreed(**one) for name, one in told["agreed"].items()}
            self.agreed, self._without = agreed, frozenset(map(str, told["without"]))
            self._of_group = True
        await self.put_back_here()

    async def follow(self, wish: Wish, failed: int) -> AsyncIterator[Event]:
        """The peers have another group.toml, and wait; so does this node from now on. What it
        cannot take up they put back."""
        group = self._node.group
        if failed and not self.agreed:
            yield {
                "step": "warning",
                "text": f"nobody took the group.toml of {self._node.name}: {STILL}",
            }
            return
        for name in sorted(self._without):
            yield {"step": "end", "peer": name, "outcome": LEFT_OUT}
        alone = not self.targets(())
        within_s = wish.confirm_within_s if self.agreed or alone else None
        kept = {name: asdict(one) for name, one in self.agreed.items()}
        try:
            if within_s is not None:  # first: an agent that dies then has somebody come after it
                told = {"agreed": kept, "without": sorted(self._without)}
                await asyncio.to_thread(write_whole, self._file, told)
            changes = await group.take_up(force=wish.force, with_peers_s=within_s)
        except CarpoolError as error:
            self._of_group = group.waits and await group.with_peers()
            await self.on_peers((), "take-back")
            self._wait_no_more()
            why = f"{error.message}; the peers were told to put it back"
            yield {"step": "end", "outcome": "failed", "error": why, "hint": error.hint}
            return
        self._of_group = group.waits
        if not group.waits:
            self._file.unlink(missing_ok=True)
        if changes:
            yield {"step": "group", "changes": changes}
        if within_s is not None and not group.waits:
            yield {"step": "warning", "text": f"{self._node.name} {_ALREADY}"}

    async def put_back_here(self) -> None:
        """If failover did so, for nobody confirmed it: to be settled as soon as the peers did."""
        try:
            if not self._of_group or await self._node.group.with_peers():
                return
        except CarpoolError:  # it says so when it can
            return
        if not self.targets(()):
            self._results.decided(self._node.name, "put back")
        self.forget(without=self._without)
        self._gone = True
        self._settling = asyncio.create_task(self._settle_soon())

    async def _settle_soon(self) -> None:
        found: dict[str, Mapping[str, object]] = {}
        for _ in range(SETTLE_TRIES_MAX):
            found.clear()
            await self._settle(found, quiet=True)
            if not found:
                return
            await asyncio.sleep(SETTLE_AGAIN_S)
        say(f"agent: the group.toml was put back, and not on all nodes: {', '.join(found)}")

    async def on_peers(self, names: Sequence[str], what: str) -> dict[str, Mapping[str, object]]:
        """`confirm` or `take-back` on these peers, or on all; by name what came of it."""
        if what == "confirm" and await self._is_gone():
            found = await self._on_peers((), "take-back")
            found[self._node.name] = {"error": _GONE, "hint": _AGAIN, "waited": True}
            self.forget()
            return found
        return await self._on_peers(names, what)

    async def _is_gone(self) -> bool:
        """Whether this node put back what it waited for with them; it may not have heard yet."""
        return self._gone or (self._of_group and not await self._node.group.with_peers())

    async def _on_peers(self, names: Sequence[str], what: str) -> dict[str, Mapping[str, object]]:
        found: dict[str, Mapping[str, object]] = {}
        for peer in self.targets(names):
            try:
                found[peer.name] = await peer.post(f"{PREFIX}/{what}", {}, timeout_s=WORK_WAIT_S)
            except CarpoolError as error:
                waited = not error.message.endswith(NOTHING_WAITS)
                told = {"error": error.message, "hint": error.hint, "waited": waited}
                found[peer.name] = told
            else:
                outcome = "confirmed" if what == "confirm" else "put back"
                await asyncio.to_thread(self._results.decided, peer.name, outcome)
        done = any("error" not in one for one in found.values())
        silent = any(one.get("waited") for one in found.values())
        alone = self._of_group and not self.targets(())
        kept = what == "confirm" and (done or alone)
        if kept:
            await asyncio.to_thread(self._record.write, self.agreed)
        settles = kept or (what != "confirm" and done and CARPOOL in self.agreed)
        if self._of_group and (kept or what != "confirm" or not silent):
            settles = True
            found[self._node.name] = await self._here(keep=kept)
            self._wait_no_more()
            if alone:
                await self._alone_is("confirmed" if kept else "put back")
        if settles:
            await self._settle(found)
        if kept or not names:
            self.agreed = {}
        if not self._of_group:
            self._without = frozenset()
        return found

    def _wait_no_more(self) -> None:
        self._of_group = False
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)

    async def _alone_is(self, outcome: str) -> None:
        """Without peers, it is this node that was waited for."""
        await asyncio.to_thread(self._results.decided, self._node.name, outcome)

    async def _here(self, *, keep: bool) -> Mapping[str, object]:
        """As the peers do. What hinders it, in words."""
        try:
            await self._node.group.decide(keep=keep)
        except CarpoolError as error:
            return {"error": error.message, "hint": error.hint, "waited": True}
        return {"kept" if keep else "undone": GROUP_CHANGE}

    async def decide_here(self, *, keep: bool) -> bool:
        """Somebody decided on a peer: whether something waited here. Raises CarpoolError."""
        if not self._of_group:
            return False
        await self._node.group.decide(keep=keep)
        if keep:
            await asyncio.to_thread(self._record.write, self.agreed)
        self.forget()
        return True

    async def _settle(self, found: dict[str, Mapping[str, object]], *, quiet: bool = False) -> None:
        """After a decision: in `found`, whom the group still waits for, if it does."""
        try:
            async for event in self._settle_all():
                without = event.get("without")
                for name, why in without.items() if isinstance(without, dict) else ():
                    told = f"the change of the group is not settled without it: {why}"
                    found[name] = {**found.get(name, {}), "group": told}
                    if not quiet:
                        say(f"agent: {name}: {told}")
        except CarpoolError as error:
            say(f"agent: the change of the group is not settled: {error}")
