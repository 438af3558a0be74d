"""The agent of one node, from a failover process that moves to a message at a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from carpool.agent import nodes
from carpool.agent.agent import Agent
from carpool.agent.alertpost import Post
from carpool.agent.alerts import TRIES_BURST, AlertKeeper
from carpool.agent.app import build
from carpool.agent.scriptlog import Clocks
from carpool.agent.scriptrun import DirectRunner
from carpool.errors import CarpoolError
from tests.unit.agent.home import agent_of, asked_by, until
from tests.unit.agent.webhook import Webhook


class Failover:
    """Answers `status` with what each VIP is at."""

    def __init__(self, *states: str) -> None:
        self.states = list(states)

    def status(self) -> dict[str, Any]:
        vhosts = [
            {"vhid": number, "interface": "lan", "state": state, "reason": "fw2 was silent"}
            | {"since_s": 9.0, "master": "fw2 (10.1.0.3)" if state == "BACKUP" else None}
            for number, state in enumerate(self.states, 51)
        ]
        more = {"interfaces": [], "demotion": [], "enabled": True, "maintenance": False}
        return {"ok": True, "role": "BACKUP", "vhosts": vhosts, "troubles": [], **more}

    @asynccontextmanager
    async def serving(self, run_dir: Path) -> AsyncIterator[None]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(json.dumps(self.status()).encode() + b"\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_unix_server(answer, run_dir / "failover.sock")
        async with server:
            yield


@asynccontextmanager
async def watching(agent: Agent) -> AsyncIterator[None]:
    task = asyncio.create_task(agent.alerts.run(partial(nodes.state, agent)))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def write(agent: Agent, text: str) -> None:
    file = agent.config_dir / "alerts.toml"
    file.write_text(text)
    file.chmod(0o600)


def test_one_message_for_two_vips_and_an_event(tmp_path: Path) -> None:
    failover = Failover("BACKUP", "BACKUP")
    with Webhook() as webhook:

        async def run() -> Agent:
            agent = agent_of(tmp_path)
            write(agent, f'[to.hook]\nurl = "json://127.0.0.1:{webhook.port}/t0ken"\n')
            async with failover.serving(agent.run_dir), watching(agent):
                await until((agent.run_dir / "alerts.json").exists, "a look")
                failover.states = ["MASTER", "BACKUP"]
                await asyncio.sleep(0)
                failover.states = ["MASTER", "MASTER"]
                await until(lambda: agent.journal.last(1), "an event")
            return agent

        agent = asyncio.run(run())
    (body,) = webhook.bodies
    assert body["title"] == "[test] fw1 became MASTER"
    assert "MASTER of all 2 VIPs" in body["message"] and "Before: fw2" in body["message"]
    (event,) = agent.journal.last(9)
    assert (event["kind"], event["text"]) == ("alert", "hook: [test] fw1 became MASTER: sent")
    assert "t0ken" not in (agent.run_dir / "alerts.json").read_text()


def test_targets_are_told_without_secrets_and_tried(tmp_path: Path) -> None:
    async def run(port: int) -> None:
        agent = agent_of(tmp_path)
        assert (await agent.alerts.told())["alerts"] == []
        assert agent.alerts.count == 0
        with pytest.raises(CarpoolError, match="nobody is told"):
            await agent.alerts.attempt(None)
        write(agent, f'[to.hook]\nurl = "json://127.0.0.1:{port}/t0ken"\n[to.bad]\nurl = 3\n')
        transport = httpx.ASGITransport(asked_by(build(agent), None))
        async with httpx.AsyncClient(transport=transport, base_url="http://agent") as client:
            answer = await client.get("/v1/alerts")
            assert "t0ken" not in answer.text
            (row,) = answer.json()["alerts"]
            assert (row["name"], row["url"]) == ("hook", f"json://127.0.0.1:{port}/****")
            assert "alerts.toml:4" in answer.json()["problems"][0]
            answer = await client.post("/v1/alerts/test", json={"name": "hook"})
            assert [one["ok"] for one in answer.json()["tried"]] == [True]
            answer = await client.post("/v1/alerts/test", json={"name": "none"})
            assert answer.status_code == 400 and "there is hook" in answer.json()["hint"]

    with Webhook() as webhook:
        asyncio.run(run(webhook.port))
    assert webhook.bodies[0]["title"] == "[test] a try from fw1"


def test_nobody_makes_a_flood_of_tries(tmp_path: Path) -> None:
    async def run() -> None:
        agent = agent_of(tmp_path)
        write(agent, '[to.hook]\nurl = "json://127.0.0.1"\n')
        runner, clocks = DirectRunner(agent.now_s), Clocks(agent.now_s, agent.wall_iso)
        post = Post(runner, lambda _text: None, agent.wall_iso, program=("/bin/true",))
        home = agent.config_dir
        keeper = AlertKeeper(agent, (home, home), runner, agent.journal, clocks, post)
        for _ in range(TRIES_BURST):
            assert (await keeper.attempt(None))[0]["ok"]
        with pytest.raises(CarpoolError, match="too many tries"):
            await keeper.attempt(None)

    asyncio.run(run())


def test_without_targets_nobody_is_asked(tmp_path: Path) -> None:
    asked: list[str] = []

    async def run() -> None:
        agent = agent_of(tmp_path)

        async def status(process: str) -> None:
            asked.append(process)

        agent.status = status  # type: ignore[method-assign]
        async with watching(agent):
            await asyncio.sleep(0.2)

    asyncio.run(run())
    assert asked == []
