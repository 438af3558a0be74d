"""Who did what by the pages: among the events of both nodes, in words that nobody can bend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi.responses import StreamingResponse

from carpool.agent import deeds as subject
from carpool.agent.agent import Agent
from carpool.agent.app import build
from carpool.agent.localclient import BY_HEADER
from carpool.errors import PeerError
from tests.unit.agent.home import agent_of, pair_of, serving, until
from tests.unit.agent.test_app import ask
from tests.unit.agent.test_webdoor import OWN_GROUP, client

ADMIN = {BY_HEADER: "admin from 10.0.0.5"}


def told(agent: Agent) -> list[str]:
    events = agent.journal.last(100)
    assert {event["kind"] for event in events} <= {"web"}
    return [str(event["text"]) for event in events]


def test_a_deed_is_among_the_events_of_both_nodes(tmp_path: Path) -> None:
    fw1, fw2 = pair_of(tmp_path)

    async def scenario() -> None:
        async with serving(fw1, pages_group=OWN_GROUP), serving(fw2):
            async with client(fw1.run_dir / "web/agent.sock") as pages:
                await pages.post("/v1/reload", headers=ADMIN)
                body = {"by": "admin"}
                path = "/v1/services/nginx/restart"
                refused = await pages.post(path, params={"peer": "x"}, json=body, headers=ADMIN)
                await pages.post("/v1/reload")
                await pages.get("/v1/about", headers=ADMIN)
                await pages.post("/v1/diff", json={}, headers=ADMIN)
                noted = {"text": "logged in"}
                assert (await pages.post("/v1/web/note", json=noted, headers=ADMIN)).is_success
            async with client(fw1.socket) as other:
                await other.post("/v1/reload")
            here = [
                "admin from 10.0.0.5: POST /v1/reload: done",
                f"admin from 10.0.0.5: POST {path}?peer=x: failed: {refused.json()['error']}",
                "somebody: POST /v1/reload: done",
                "admin from 10.0.0.5: logged in",
            ]
            assert told(fw1) == here
            await until(lambda: len(told(fw2)) == len(here), "the peer's events")
            assert sorted(told(fw2)) == sorted(f"on fw1, {text}" for text in here)

    asyncio.run(scenario())


def test_a_peer_cannot_speak_for_the_pages_nor_fill_the_journal(tmp_path: Path) -> None:
    fw1, fw2 = pair_of(tmp_path)

    async def scenario() -> None:
        async with serving(fw1):
            peer = fw2.peers["fw1"]
            for number in range(subject.HEARD_BURST + 5):
                try:
                    await peer.post(subject.PEER_PATH, {"text": f"deed {number}\x1b[2J\n"})
                except PeerError as error:
                    assert "too many deeds" in error.message
            await fw2.close()

    asyncio.run(scenario())
    texts = told(fw1)
    assert subject.HEARD_BURST <= len(texts) < subject.HEARD_BURST + 5
    assert texts[0] == "on fw2, deed 0?[2J?"
    assert fw1.refusals.counts["too_often"] >= 1
    assert ask(build(fw1), subject.PEER_PATH, method="POST", json={"text": "x"}).status_code == 403
    answer = ask(build(fw1), "/v1/peer/settle", "fw2", method="POST", headers=ADMIN)
    assert answer.status_code == 404 and told(fw1) == texts
    long = ask(build(fw1), subject.PEER_PATH, "fw2", method="POST", json={"text": "x" * 1001})
    assert long.status_code == 422


def test_what_came_of_a_long_one_is_in_its_last_line(tmp_path: Path) -> None:
    agent = agent_of(tmp_path)
    app = build(agent)

    @app.post("/v1/long/{name}")
    async def long(name: str) -> StreamingResponse:
        lines = {
            "good": b'{"step":"over","failed":[]}\n',
            "part": b'{"step":"over","failed":["fw2","fw3"]}\n',
            "bad": b'{"error":"it broke","hint":"mend it"}\n',
            "odd": b"[1]\n",
        }

        async def answer() -> AsyncIterator[bytes]:
            yield b'{"step":"look","text":"' + b"x" * subject.TAIL_MAX_BYTES + b'"}\n'
            yield lines[name]

        return StreamingResponse(answer())

    @app.post("/v1/bug")
    async def bug() -> None:
        raise ValueError("secret details")

    for name in ("long/good", "long/part", "long/bad", "long/odd", "long/none", "bug"):
        ask(app, f"/v1/{name}", method="POST", headers=ADMIN)
    assert [text.removeprefix("admin from 10.0.0.5: POST /v1/") for text in told(agent)] == [
        "long/good: done",
        "long/part: failed on fw2, fw3",
        "long/bad: failed: it broke",
        "long/odd: done",
        "long/none: nobody waited for its end",
        "bug: broke off: the log tells more",
    ]


def test_what_nobody_waits_for_is_noted_too(tmp_path: Path) -> None:
    agent = agent_of(tmp_path)
    app, begun = build(agent), asyncio.Event()

    @app.post("/v1/stuck")
    async def stuck() -> None:
        begun.set()
        await asyncio.Event().wait()

    async def scenario() -> None:
        async with serving(agent, app):
            async with client(agent.socket) as pages:
                task = asyncio.create_task(pages.post("/v1/stuck", headers=ADMIN))
                await begun.wait()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())
    assert told(agent) == ["admin from 10.0.0.5: POST /v1/stuck: broke off: the log tells more"]


def test_words_of_others_stay_one_short_line(tmp_path: Path) -> None:
    agent = agent_of(tmp_path)
    by = {BY_HEADER: b"\x1b[31m" + b"a" * 200}
    ask(build(agent), "/v1/reload?" + "q" * 500, method="POST", headers=by)
    (text,) = told(agent)
    assert text.isprintable() and len(text) < 450
    assert text.startswith("?[31maaa")


def test_a_peer_that_is_gone_keeps_nobody_waiting(tmp_path: Path) -> None:
    fw1, _fw2 = pair_of(tmp_path)

    async def scenario() -> None:
        for _deed in range(subject.TELLING_MAX + 5):
            fw1.deeds.note("admin", "tried")
        assert len(told(fw1)) == subject.TELLING_MAX + 5
        await fw1.close()

    asyncio.run(scenario())
