"""What each peer says of itself this second, for who looks at the group.

Room: agent. Peers are asked while somebody looks, and not otherwise; an answer that is late is
told as that, so that a look never waits for a peer that is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from pydantic import ValidationError

from carpool.agent.answers import NodeState
from carpool.agent.client import PeerClient
from carpool.errors import CarpoolError, PeerError
from carpool.kernel import clock

PEER_PATH = "/v1/peer/node"
ASK_EVERY_S = 0.4  # each peer, while somebody looks
ANSWER_WAIT_S = 3.0  # its failover process may take as long to say nothing
LATE_S = 1.0  # after so long without an answer it is told that there is none
LOOK_S = 10.0  # that one look lasts
FIRST_WAIT_S = 1.0  # for a peer that was not asked yet
NODE_MAX_BYTES = 4 * 1024 * 1024  # of an answer: hundreds of VIPs


class Watched:
    """The peers, asked again and again for LOOK_S after each look."""

    def __init__(self, now_s: Callable[[], float] = clock.monotonic_s) -> None:
        self._now_s = now_s
        self._peers: dict[str, _Peer] = {}
        self._until_s = 0.0

    async def look(self, peers: Mapping[str, PeerClient]) -> list[dict[str, object]]:
        self._until_s = self._now_s() + LOOK_S
        for name in self._peers.keys() - peers.keys():
            self._peers.pop(name).stop()
        for name, client in peers.items():
            known = self._peers.get(name)
            if known is None or known.client is not client or known.task.done():
                known = self._peers[name] = _Peer(client, known, self._now_s)
                known.task = asyncio.create_task(known.ask_again(lambda: self._until_s))
        for one in self._peers.values():
            await one.asked_once()
        return [one.shown() for one in self._peers.values()]

    def close(self) -> None:
        for one in self._peers.values():
            one.stop()


class _Peer:
    def __init__(
        self, client: PeerClient, before: _Peer | None, now_s: Callable[[], float]
    ) -> None:
        self.client = client
        self.task: asyncio.Task[None]
        self._now_s = now_s
        self._first = asyncio.Event()
        self._found: NodeState | None = before._found if before else None
        self._found_s: float = before._found_s if before else 0.0
        self._error: CarpoolError | None = None

    async def ask_again(self, until_s: Callable[[], float]) -> None:
        while self._now_s() < until_s():
            asked_s = self._now_s()
            try:
                self._found, self._error = await self._ask(), None
                self._found_s = self._now_s()
            except CarpoolError as error:
                self._error = error
            self._first.set()
            await asyncio.sleep(max(0.0, asked_s + ASK_EVERY_S - self._now_s()))

    async def _ask(self) -> NodeState:
        answer = await self.client.get(PEER_PATH, timeout_s=ANSWER_WAIT_S, max_bytes=NODE_MAX_BYTES)
        try:
            return NodeState.model_validate(answer)
        except ValidationError as error:
            why = error.errors()[0]["msg"]
            raise PeerError(f"{self.client.name}: what it says of itself: {why}") from error

    async def asked_once(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._first.wait(), FIRST_WAIT_S)

    def stop(self) -> None:
        self.task.cancel()

    def shown(self) -> dict[str, object]:
        age_s = self._now_s() - self._found_s if self._found else None
        error, hint = "", ""
        if self._error is not None:
            error, hint = self._error.message, self._error.hint
        elif age_s is None or age_s > LATE_S:
            waited = "yet" if age_s is None else f"for {age_s:.1f} s"
            error = f"{self.client.name} ({self.client.door.target}) has not answered {waited}"
            hint = f"is {self.client.name} up, and the link between the nodes?"
        told = self._found.model_dump() if self._found else NodeState.unknown(self.client.name)
        address = str(self.client.door.target)
        return {
            **told,
            "name": self.client.name,
            "here": False,
            "age_s": None if age_s is None else round(age_s, 1),
            "address": address,
            "error": error,
            "hint": hint,
        }
