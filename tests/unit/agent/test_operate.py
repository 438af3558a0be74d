"""What moves the mastership through the agent, here and on a peer, and what happened there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from carpool.agent.agent import Agent
from carpool.agent.app import build
from tests.unit.agent.home import agent_of, asked_by, pair_of, serving

REFUSED = {"ok": False, "error": "nobody took over", "hint": "look at the peer"}
HOSTILE = "<script>\x1b[2J"


@asynccontextmanager
async def failover(run_dir: Path, asked: list[object], answer: object) -> AsyncIterator[None]:
    async def told(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(json.loads(await reader.readline()))
        writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()

    server = await asyncio.start_unix_server(told, run_dir / "failover.sock")
    async with server:
        yield


def operate(
    agents: tuple[Agent, ...],
    path: str,
    body: object = None,
    *,
    answer: object = {"ok": True, "changed": True},
    peer: str | None = None,
    method: str = "POST",
) -> tuple[httpx.Response, list[object]]:
    """Ask the first; the answer, and what the failover process of the last was asked."""
    asked: list[object] = []

    async def post() -> httpx.Response:
        async with AsyncExitStack() as stack:
            if len(agents) > 1:
                for agent in agents:
                    await stack.enter_async_context(serving(agent))
            await stack.enter_async_context(failover(agents[-1].run_dir, asked, answer))
            app = asked_by(build(agents[0]), peer)
            client = httpx.AsyncClient(
                transport=httpx.ASGITransport(app, raise_app_exceptions=False),
                base_url="http://agent",
                headers={"carpool-by": "ann from 192.0.2.7"},
            )
            await stack.enter_async_context(client)
            return await client.request(method, path, json=body)

    return asyncio.run(post()), asked


@pytest.mark.parametrize(
    ("path", "body", "command"),
    [
        (
            "maintenance",
            {"on": True, "reason": "new disk"},
            {"command": "maintenance", "on": True, "reason": "new disk"},
        ),
        ("maintenance", {"on": False}, {"command": "maintenance", "on": False}),
        ("switchover", None, {"command": "switchover"}),
        ("disable", None, {"command": "disable"}),
        ("enable", None, {"command": "enable"}),
    ],
)
def test_here_and_on_a_peer_failover_is_asked_and_told_by_whom(
    path: str, body: object, command: object, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    answer, asked = operate((agent_of(tmp_path),), f"/v1/{path}", body)
    assert (answer.status_code, asked) == (200, [command]), answer.text
    assert (answer.json()["node"], answer.json()["changed"]) == ("fw1", True)
    said = capfd.readouterr().err
    assert "agent: ann from 192.0.2.7 " in said and " on fw1" not in said

    pair = pair_of(tmp_path)
    answer, asked = operate(pair, f"/v1/{path}?peer=fw2", body)
    assert (answer.status_code, asked) == (200, [command]), answer.text
    assert answer.json()["node"] == "fw2"
    assert "agent: ann from 192.0.2.7 on fw1 " in capfd.readouterr().err, "who asked it there"


def test_what_failover_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    answer, _asked = operate((agent_of(tmp_path),), "/v1/switchover", answer=REFUSED)
    assert answer.status_code == 400
    assert answer.json() == {"error": "nobody took over", "hint": "look at the peer"}
    answer, _asked = operate(pair_of(tmp_path), "/v1/switchover?peer=fw2", answer=REFUSED)
    assert answer.json()["error"] == "fw2: nobody took over"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/maintenance", {"on": True, "reason": "x" * 201}),
        ("/v1/maintenance", {"on": "perhaps"}),
        ("/v1/maintenance", {"on": True, "more": 1}),
        ("/v1/switchover?peer=" + "x" * 65, None),
        ("/v1/peer/operate", {"deed": "reboot", "by": "ann"}),
    ],
)
def test_nothing_else_gets_to_failover(path: str, body: object, tmp_path: Path) -> None:
    peer = "fw2" if "/peer/" in path else None
    answer, asked = operate((agent_of(tmp_path, port=1),), path, body, peer=peer)
    assert (answer.status_code, asked) == (422, [])


def test_words_of_others_steer_no_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    body = {"deed": "maintenance-on", "by": HOSTILE, "reason": HOSTILE}
    agent = agent_of(tmp_path, port=1)
    _answer, asked = operate((agent,), "/v1/peer/operate", body, peer="fw2")
    assert asked == [{"command": "maintenance", "on": True, "reason": "<script>?[2J"}]
    assert "\x1b" not in capfd.readouterr().err


def test_a_program_of_this_machine_does_not_pose_as_a_peer(tmp_path: Path) -> None:
    body = {"deed": "disable", "by": "ann"}
    answer, asked = operate((agent_of(tmp_path),), "/v1/peer/operate", body)
    assert (answer.status_code, asked) == (403, [])


def test_events_here_and_of_a_peer_are_bounded(tmp_path: Path) -> None:
    told = {
        "ok": True,
        "events": [
            {"monotonic_s": 1.0, "time": "2026-07-01T10:00:00Z", "kind": "x" * 999, "more": [1]},
            "no event",
            {"monotonic_s": 2.0, "kind": "transition", "new": "MASTER", "text": "y" * 9999},
        ],
    }
    one = agent_of(tmp_path)
    here, asked = operate((one,), "/v1/events?limit=7", answer=told, method="GET")
    assert asked == [{"command": "events", "limit": 7}]
    first, second = here.json()["events"]
    assert (len(first["kind"]), len(second["text"]), second["new"]) == (256, 4096, "MASTER")

    def of_a_peer() -> httpx.Response:
        return operate(pair_of(tmp_path), "/v1/events?peer=fw2", answer=told, method="GET")[0]

    there = of_a_peer()
    while "has not told its events within" in there.json()["error"]:  # a page waits no longer
        there = of_a_peer()
    assert there.json() == {**here.json(), "node": "fw2"}
    for limit in ("0", "1001", "x"):
        bad, _asked = operate((one,), f"/v1/events?limit={limit}", answer=told, method="GET")
        assert bad.status_code == 422


def test_events_of_a_node_whose_failover_is_down_say_so(tmp_path: Path) -> None:
    agent = agent_of(tmp_path)
    (agent.run_dir / "failover.events").write_text('{"kind": "transition", "text": "before"}\n')

    async def get() -> httpx.Response:
        app = asked_by(build(agent), None)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://agent") as client:
            return await client.get("/v1/events")

    told = asyncio.run(get()).json()
    assert [one["text"] for one in told["events"]] == ["before"]
    assert "does not answer" in told["error"] and told["hint"]


def test_a_peer_that_is_gone_is_told(tmp_path: Path) -> None:
    here, _there = pair_of(tmp_path)
    answer, _asked = operate((here,), "/v1/events?peer=fw2", method="GET")
    assert answer.status_code == 502
    assert "cannot connect to the agent of fw2" in answer.json()["error"]
