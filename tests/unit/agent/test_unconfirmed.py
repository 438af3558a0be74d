"""Peers that keep, or put back, what waits there; fw2 here only takes note of what it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from carpool.agent.agent import Agent
from carpool.agent.client import Body, PeerClient
from carpool.agent.group import GroupFile
from carpool.agent.job import Event
from carpool.agent.objectlines import Answer
from carpool.agent.record import Agreed, Record
from carpool.agent.results import Results
from carpool.agent.send import Wish
from carpool.agent.unconfirmed import Unconfirmed
from carpool.agent.waits import ANSWER_WAIT_S
from carpool.model.section import SERVICE_TIMEOUT_S
from tests.unit.agent.home import rooted_pair

AGREED = Agreed("1", "2", "fw1", "2026-11-23T05:41:21Z")


class Slow(PeerClient):
    waited_s: dict[str, float]

    async def post(
        self, path: str, body: Body = None, *, timeout_s: float = ANSWER_WAIT_S
    ) -> Answer:
        self.waited_s[path] = timeout_s
        return {"done": "sync of web"}


async def nothing() -> AsyncIterator[Event]:
    none: tuple[Event, ...] = ()
    for event in none:
        yield event


class TakenUp(GroupFile):
    """By a failover process that waits to have it confirmed."""

    async def take_up(self, *, force: bool = False, with_peers_s: float | None = None) -> list[str]:
        self.waits = True
        return []


async def reloaded() -> None: ...


def pair_with_slow(directory: Path) -> tuple[Agent, Slow]:
    fw1, _fw2 = rooted_pair(directory)
    door = fw1.peers["fw2"].door
    slow = Slow(fw1.keys, "fw2", (door.source, door.target), door.port)
    slow.waited_s = {}
    fw1.peers["fw2"] = slow
    return fw1, slow


def test_a_peer_may_take_as_long_as_its_files_and_services_do(tmp_path: Path) -> None:
    fw1, slow = pair_with_slow(tmp_path)
    record = Record(tmp_path)
    unconfirmed = Unconfirmed(
        fw1.configuration.sender, record, Results(tmp_path), nothing, fw1.configuration
    )
    unconfirmed.agreed = {"web": AGREED}
    asyncio.run(unconfirmed.on_peers([], "take-back"))
    assert record.read() == {}
    unconfirmed.agreed = {"web": AGREED}
    asyncio.run(unconfirmed.on_peers([], "confirm"))
    assert record.read() == {"web": AGREED}
    assert slow.waited_s.keys() == {"/v1/peer/take-back", "/v1/peer/confirm"}
    assert min(slow.waited_s.values()) > SERVICE_TIMEOUT_S


def test_what_this_node_has_put_back_no_peer_is_told_to_keep(tmp_path: Path) -> None:
    """Also when it has heard of it from failover already, and waits for nothing any more."""
    fw1, slow = pair_with_slow(tmp_path)
    node = fw1.configuration
    node.group = TakenUp(tmp_path, tmp_path, tmp_path, reloaded)
    unconfirmed = Unconfirmed(node.sender, Record(tmp_path), Results(tmp_path), nothing, node)

    async def days() -> Mapping[str, Mapping[str, object]]:
        unconfirmed.agreed = {"web": AGREED}
        async for _event in unconfirmed.follow(Wish("ann", "", confirm_within_s=3600), 0):
            pass
        await unconfirmed.put_back_here()
        return await unconfirmed.on_peers((), "confirm")

    found = asyncio.run(days())
    assert slow.waited_s.keys() == {"/v1/peer/take-back"}
    assert "has put its group.toml back meanwhile" in str(found[node.name]["error"])
