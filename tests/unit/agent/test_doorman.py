"""The doorman: who may ask, how often, how many at once, how large, how slowly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from carpool.agent import doorman
from carpool.agent.app import build
from carpool.agent.doorman import SCOPE_PEER, Doorman, takes
from carpool.agent.refusals import Refusals
from tests.unit.agent.home import agent_of


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


async def ask(
    app: ASGIApp,
    path: str = "/v1/peer/upload",
    peer: str | None = "fw2",
    body: AsyncIterator[bytes] | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, Any]:
    """A request by hand: what is said and when is up to `body`."""
    scope: Scope = {
        **{"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST"},
        **{"scheme": "https", "path": path, "raw_path": path.encode(), "query_string": b""},
        **{"root_path": "", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2)},
        "headers": [(key.encode(), value.encode()) for key, value in (headers or {}).items()],
        SCOPE_PEER: peer,
    }
    sent: list[Message] = []

    async def receive() -> Message:
        if body is not None:
            async for part in body:
                return {"type": "http.request", "body": part, "more_body": True}
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    content = b"".join(message.get("body", b"") for message in sent)
    assert (b"carpool-api", b"1") in sent[0]["headers"]
    return sent[0]["status"], json.loads(content)


def uploads(directory: Path) -> FastAPI:
    """The real application with a route that takes a large body and one that takes a usual one."""
    app = build(agent_of(directory, port=1))

    async def count(request: Request) -> int:
        return sum([len(part) async for part in request.stream()])

    @app.post("/v1/peer/upload")
    @takes(3 * doorman.BODY_MAX_BYTES)
    async def upload(request: Request) -> int:
        return await count(request)

    @app.post("/v1/peer/usual")
    async def usual(request: Request) -> int:
        return await count(request)

    @app.post("/v1/peer/json")
    async def parsed(content: dict[str, str]) -> int:
        return len(content)

    return app


async def parts(count: int, size: int = doorman.BODY_MAX_BYTES) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield bytes(size)


def test_each_route_has_its_limit_of_size(tmp_path: Path) -> None:
    app = uploads(tmp_path)

    async def scenario() -> None:
        assert await ask(app, body=parts(3)) == (200, 3 * doorman.BODY_MAX_BYTES)
        assert await ask(app, "/v1/peer/usual", body=parts(1)) == (200, doorman.BODY_MAX_BYTES)
        for path, count in (("upload", 4), ("usual", 2), ("json", 2)):
            status, told = await ask(app, f"/v1/peer/{path}", body=parts(count))
            assert (status, "expected" in told["error"]) == (413, True), path
            endless = parts(1_000_000_000)
            assert (await ask(app, f"/v1/peer/{path}", body=endless))[0] == 413

    asyncio.run(scenario())


def test_a_length_that_is_too_much_is_refused_before_a_byte_is_read(tmp_path: Path) -> None:
    app = uploads(tmp_path)

    read: list[bytes] = []

    async def watched() -> AsyncIterator[bytes]:
        async for part in parts(1):
            read.append(part)
            yield part

    async def scenario() -> None:
        length = {"content-length": str(4 * doorman.BODY_MAX_BYTES)}
        status, told = await ask(app, body=watched(), headers=length)
        assert (status, "4194304 bytes" in told["error"]) == (413, True)
        assert not read

    asyncio.run(scenario())


def test_a_body_that_trickles_in_is_ended() -> None:
    """Time is counted while we wait, and bytes buy time."""
    clock = Clock()
    ended: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            while (await receive())["more_body"]:
                clock.now_s += 60  # our own slowness costs them nothing
        except Exception as error:  # noqa: BLE001 (whatever it is, it is judged below)
            ended.append(getattr(error, "status_code", 0))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"0"})

    async def slowly(size: int) -> AsyncIterator[bytes]:
        for _ in range(5):
            clock.now_s += 4  # the fake time of waiting
            await asyncio.sleep(0)
            yield bytes(size)

    async def scenario() -> None:
        door = Doorman(app, ["fw2"], Refusals(clock, lambda text: None), clock)
        await ask(door, body=slowly(doorman.BODY_MIN_BYTES_S * 3))
        assert ended == []
        await ask(door, body=slowly(10))
        assert ended == [408]

    asyncio.run(scenario())


def test_a_peer_asks_no_more_often_than_it_may() -> None:
    clock, told = Clock(), list[str]()
    refusals = Refusals(clock, told.append)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"0"})

    async def scenario() -> None:
        door = Doorman(app, ["fw2", "fw3"], refusals, clock)
        found = [(await ask(door))[0] for _ in range(doorman.REQUESTS_BURST + 5)]
        assert found == [200] * doorman.REQUESTS_BURST + [429] * 5
        assert (await ask(door, peer="fw3"))[0] == 200
        assert (await ask(door, peer=None))[0] == 200
        clock.now_s += 0.125
        found = [(await ask(door))[0] for _ in range(26)]
        assert found == [200] * 25 + [429]

    asyncio.run(scenario())
    assert refusals.counts == {"too_often": 6}
    assert told == ["agent: refused fw2: more than 200 requests a second"]


def test_only_so_many_at_once_and_each_is_counted_out_again() -> None:
    clock = Clock()
    refusals = Refusals(clock, lambda text: None)
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"0"})

    async def scenario() -> None:
        door = Doorman(app, ["fw2"], refusals, clock)
        most = doorman.PEER_AT_ONCE
        waiting = [asyncio.create_task(ask(door)) for _ in range(most)]
        await asyncio.sleep(0)
        status, told = await ask(door)
        assert (status, told["error"]) == (503, f"{most} requests are under way already")
        local = asyncio.create_task(ask(door, peer=None))
        waiting.pop().cancel()
        await asyncio.sleep(0)
        waiting.append(asyncio.create_task(ask(door)))
        await asyncio.sleep(0)
        gate.set()
        assert [status for status, _ in await asyncio.gather(*waiting, local)] == [200] * (most + 1)

    asyncio.run(scenario())
