"""What an agent tells a peer's doctor, how often, and what it makes of one that tells nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
from starlette.types import Receive, Scope, Send

from carpool import __version__
from carpool.agent.app import build
from carpool.agent.examiner import FACTS_BURST, OLDER, Examiner
from carpool.agent.scriptrun import DirectRunner
from carpool.api.factsjson import read
from carpool.kernel.clock import monotonic_s
from tests.unit.agent.home import agent_of, asked_by, pair_of, serving


def test_facts_go_there_and_come_back(tmp_path: Path) -> None:
    async def asked() -> dict[str, Any]:
        one, two = pair_of(tmp_path)
        async with serving(one), serving(two):
            return await one.examiner.ask(one.peers["fw2"])

    told = read(asyncio.run(asked()))
    assert told.node.version == __version__
    lo = told.node.interfaces["sync"]
    assert (lo.device, lo.present, lo.mtu > 1000) == ("lo", True, True)
    assert abs(told.clock_off_s) <= told.clock_error_s + 0.1, "it is the same clock"
    assert told.roles == {}


def test_a_peer_without_that_route_or_without_an_agent(tmp_path: Path) -> None:
    async def asked(*, runs: bool) -> dict[str, Any]:
        one, two = pair_of(tmp_path)
        app = build(two)

        async def older(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, "path": scope["path"].replace("facts", "none")}, receive, send)

        async with serving(one):
            if not runs:
                return await one.examiner.ask(one.peers["fw2"])
            async with serving(two, older):
                return await one.examiner.ask(one.peers["fw2"])

    assert asyncio.run(asked(runs=True))["error"] == f"fw2: {OLDER}"
    assert "cannot connect to the agent of fw2" in asyncio.run(asked(runs=False))["error"]


def test_a_peer_that_asks_too_often_is_refused(tmp_path: Path) -> None:
    agent = agent_of(tmp_path, port=1)
    agent.examiner = Examiner(DirectRunner(monotonic_s), lambda: 100.0)  # at once, however slow
    app = asked_by(build(agent), "fw2")

    async def ask() -> list[int]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://agent") as client:
            answers = [await client.get("/v1/peer/facts") for _ in range(FACTS_BURST + 3)]
        assert "a second" in answers[-1].json()["error"]
        return [answer.status_code for answer in answers]

    assert asyncio.run(ask())[:: FACTS_BURST + 2] == [200, 400]


def test_a_node_listens_for_one_peer_at_a_time_and_not_for_long(tmp_path: Path) -> None:
    app = asked_by(build(agent_of(tmp_path, port=1)), "fw2")

    async def ask() -> list[tuple[int, Any]]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://agent") as client:
            bodies = [{"seconds": 0.5, "nonce": "0" * 16}] * 2 + [{"seconds": 99, "nonce": "x"}]
            asked = [client.post("/v1/peer/listen", json=body) for body in bodies]
            answers = await asyncio.gather(*asked)
        return [(answer.status_code, answer.json()) for answer in answers]

    first, second, third = asyncio.run(ask())
    assert sorted([first[0], second[0]]) == [200, 400]
    assert {"heard": []} in (first[1], second[1])
    assert third[0] == 422
