"""The socket of the pages: what may be asked there, and what may not; who gets to it is in
tests/netns/test_webdoor.py."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from carpool.agent import webdoor
from carpool.agent.webdoor import WebDoor
from tests.unit.agent.home import agent_of, pair_of, serving, until

OWN_GROUP = grp.getgrgid(os.getgid()).gr_name


@contextlib.asynccontextmanager
async def client(path: Path) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.AsyncHTTPTransport(uds=str(path))
    async with httpx.AsyncClient(transport=transport, base_url="http://agent") as made:
        yield made


def test_the_pages_ask_what_programs_may_and_nothing_of_peers(tmp_path: Path) -> None:
    fw1, _fw2 = pair_of(tmp_path)

    async def scenario() -> None:
        async with (
            serving(fw1, pages_group=OWN_GROUP),
            client(fw1.run_dir / "web/agent.sock") as it,
        ):
            assert (await it.get("/v1/about")).json()["name"] == "fw1"
            for path in ("/v1/peer/about", "/v1/%70eer/about", "/v1/peer/group"):
                answer = await it.get(path)
                assert answer.status_code == 403, path
                assert "is for peers, not for pages" in answer.json()["error"]
            assert (await it.post("/v1/peer/sync")).status_code == 403
            assert fw1.refusals.counts == {"not_for_pages": 4}
        assert not (fw1.run_dir / "web/agent.sock").exists()

    asyncio.run(scenario())


def test_pages_leave_connections_for_others(tmp_path: Path) -> None:
    agent = agent_of(tmp_path)

    async def scenario() -> None:
        async with serving(agent, pages_group=OWN_GROUP) as listeners:
            path = agent.run_dir / "web/agent.sock"
            ends = [
                await asyncio.open_unix_connection(path)
                for _one in range(webdoor.CONNECTIONS_MAX + 5)
            ]
            await until(lambda: listeners.count_web() == webdoor.CONNECTIONS_MAX, "so many")
            async with client(agent.socket) as other:
                assert (await other.get("/v1/about")).status_code == 200
            for _reader, writer in ends:
                writer.transport.abort()

    asyncio.run(scenario())


def test_without_the_group_there_is_no_socket_and_an_agent_all_the_same(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> None:
        door = WebDoor(tmp_path, "nobody-has-it")
        await door.claim()
        assert door.socket is None and not (tmp_path / "web").exists()
        for _again in range(2):
            door.tell()
        door.close()
        agent = agent_of(tmp_path)
        async with serving(agent), client(agent.socket) as other:
            assert (await other.get("/v1/about")).status_code == 200

    asyncio.run(scenario())
    said = capfd.readouterr().err
    assert said.count("no socket for the pages") == 1 and "'nobody-has-it'" in said
