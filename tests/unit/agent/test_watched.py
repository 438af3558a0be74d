"""What a peer says of itself, while it says it, when it says it no more, and when it is hostile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from fastapi import FastAPI, Response

from carpool.agent.answers import API, API_HEADER
from carpool.agent.client import PeerClient
from carpool.agent.watched import LATE_S, PEER_PATH, Watched
from tests.unit.agent.home import pair_of, serving, until

STATE: dict[str, object] = {
    "name": "fw2",
    "version": "1.2",
    "kernel": "6.12",
    "system": "Debian",
    "uptime_s": 1.0,
    "wall_time": "2026-11-23T05:41:21Z",
    "failover": {"role": "BACKUP"},
    "states": None,
    "troubles": [],
}


class Peer:
    """fw2, for the watcher of fw1: it says `tells`, unless it is to be silent."""

    def __init__(self, client: PeerClient) -> None:
        self.now_s = 1000.0
        self.tells: dict[str, object] = dict(STATE)
        self.hears = 0
        self.speaks = asyncio.Event()
        self.speaks.set()
        self.watched = Watched(lambda: self.now_s)
        self._clients = {client.name: client}

    async def look(self) -> dict[str, object]:
        (shown,) = await self.watched.look(self._clients)
        return shown

    async def answer(self, response: Response) -> dict[str, object]:
        self.hears += 1
        await self.speaks.wait()
        response.headers[API_HEADER] = str(API)
        return self.tells


def play(directory: Path, scenario: Callable[[Peer], Awaitable[None]]) -> None:
    async def main() -> None:
        fw1, fw2 = pair_of(directory)
        peer, app = Peer(fw1.peers["fw2"]), FastAPI()
        app.add_api_route(PEER_PATH, peer.answer)
        async with serving(fw2, app):
            try:
                await scenario(peer)
            finally:
                peer.watched.close()
                peer.speaks.set()
                await fw1.close()

    asyncio.run(main())


def test_an_answer_counts_for_a_second_and_its_age_is_told(tmp_path: Path) -> None:
    async def scenario(peer: Peer) -> None:
        shown = await peer.look()
        assert (shown["version"], shown["age_s"], shown["error"]) == ("1.2", 0.0, "")
        peer.speaks.clear()
        asked = peer.hears
        await until(lambda: peer.hears > asked, "it is asked again")
        peer.now_s += LATE_S
        shown = await peer.look()
        assert (shown["age_s"], shown["error"], shown["hint"]) == (LATE_S, "", "")
        peer.now_s += 0.5
        shown = await peer.look()
        assert (shown["version"], shown["age_s"]) == ("1.2", LATE_S + 0.5), "the last that it said"
        assert shown["error"] == "fw2 (127.0.0.12) has not answered for 1.5 s"
        assert shown["hint"] == "is fw2 up, and the link between the nodes?"

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    "hostile",
    [
        {"uptime_s": "<script>"},
        {"uptime_s": -1},
        {"name": "x" * 257},
        {"version": {"a": ["b"]}},
        {"failover": "MASTER"},
        {"troubles": [1]},
        {"troubles": [{}] * 1001},
    ],
    ids=lambda hostile: next(iter(hostile)),
)
def test_a_hostile_answer_is_told_and_shown_nowhere(
    hostile: dict[str, object], tmp_path: Path
) -> None:
    async def scenario(peer: Peer) -> None:
        peer.tells |= hostile
        shown = await peer.look()
        assert "fw2: what it says of itself: " in str(shown["error"])
        assert (shown["age_s"], shown["version"], shown["failover"]) == (None, "", {})
        assert (shown["uptime_s"], shown["troubles"], shown["name"]) == (0, [], "fw2")

    play(tmp_path, scenario)
