"""The clients, when the other end is absent, not who it should be, or talks nonsense."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from carpool.agent.agent import Agent
from carpool.agent.app import build
from carpool.agent.client import PeerClient
from carpool.agent.ndjson import Item, streamed
from carpool.api.identity import introduce, make
from carpool.errors import CarpoolError, PeerError, UnreachableError
from carpool.kernel.keys import Trouble
from carpool.kernel.tls import pinning
from tests.unit.agent.home import ADDRESSES, config_of, free_port, pair_of, serving


def fails(
    agents: tuple[Agent, Agent],
    kind: type[CarpoolError],
    ask: Callable[[PeerClient], Coroutine[Any, Any, object]] = PeerClient.about,
) -> CarpoolError:
    """What fw2 says when it asks fw1, which does not run, or which runs already."""

    async def scenario() -> CarpoolError:
        with pytest.raises(kind) as told:
            await ask(agents[1].peers["fw1"])
        await agents[1].close()
        return told.value

    return asyncio.run(scenario())


def test_nobody_is_there(tmp_path: Path) -> None:
    told = fails(pair_of(tmp_path), UnreachableError)
    assert "cannot connect to the agent of fw1 (127.0.0.11 port" in told.message
    assert "from 127.0.0.12" in told.message
    assert "does `carpool run agent` run on fw1" in told.hint


def test_who_hangs_up_before_a_word_is_there_and_knows_us_not(tmp_path: Path) -> None:
    """As an agent does with an address that none of its peers has."""
    agents = pair_of(tmp_path)

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # resets
        writer.close()

    async def scenario() -> CarpoolError:
        door = agents[1].peers["fw1"].door
        async with await asyncio.start_server(hang_up, str(door.target), door.port):
            with pytest.raises(UnreachableError) as told:
                await agents[1].peers["fw1"].about()
        await agents[1].close()
        return told.value

    told = asyncio.run(scenario())
    assert "fw1 (127.0.0.11 port" in told.message and "hung up" in told.message
    assert "is it paired with fw2" in told.hint


def test_without_pairing_nothing_is_tried(tmp_path: Path) -> None:
    agents = pair_of(tmp_path)
    agents[1].keys.unpin("fw1")
    told = fails(agents, Trouble)
    assert "fw2 is not paired with fw1" in told.message


@asynccontextmanager
async def someone(
    agent: Agent, says: bytes, *, tls: bool = True, port: int = 0
) -> AsyncIterator[int]:
    """Somebody with the keys of `agent` at its place, or at another port, who says this to all."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n") if tls else await reader.read(1)
        writer.write(says)
        await writer.drain()
        if says:
            writer.close()
        else:
            await reader.read()

    peer = agent.peers["fw2"]
    context = pinning(agent.keys.credentials("fw2"), server=True) if tls else None
    port = port or peer.door.port
    server = await asyncio.start_server(serve, str(peer.door.source), port, ssl=context)
    try:
        yield port
    finally:
        server.close()


def hears(
    agents: tuple[Agent, Agent],
    says: bytes,
    ask: Callable[[PeerClient], Coroutine[Any, Any, object]] = PeerClient.about,
    *,
    tls: bool = True,
) -> CarpoolError:
    async def scenario() -> CarpoolError:
        async with someone(agents[0], says, tls=tls):
            with pytest.raises(CarpoolError) as told:
                await ask(agents[1].peers["fw1"])
            await agents[1].close()
        return told.value

    return asyncio.run(scenario())


def http(content: object, *headers: str, status: str = "200 OK") -> bytes:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    head = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


OURS = "carpool-api: 1"
ABOUT = {"name": "fw1", "version": "1", "api": 1, "group": "g", "roles": None, "wall_time": "x"}


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (http(ABOUT), "its answer is not that of a carpool agent"),
        (http(ABOUT, "carpool-api: 2"), "the agent of fw1 speaks API 2, this node 1"),
        (http(b"[]", OURS), "no JSON object"),
        (http(b"{" * 100_000, OURS), "no JSON object"),
        (http({**ABOUT, "version": "x" * 300}, OURS), "its description: "),
        (http({**ABOUT, "name": "fw3"}, OURS), "calls itself 'fw3'"),
        (http({"error": "no", "hint": "go"}, OURS, status="403 Forbidden"), "fw1: no"),
        (http(b"?", OURS, status="500 Bad"), "fw1: HTTP status 500"),
        (b"SSH-2.0-x\r\n\r\n", "hung up"),
        (b"HTTP/1.1 200 OK\r\ncarpool-api: 1\r\ncontent-length: 9\r\n\r\n{", "hung up"),
    ],
)
def test_whatever_it_says_is_judged(tmp_path: Path, says: bytes, words: str) -> None:
    told = hears(pair_of(tmp_path), says)
    assert words in told.message
    assert isinstance(told, UnreachableError if words == "hung up" else PeerError)
    assert told.hint or "fw1: HTTP" in told.message


def test_silence_has_an_end(tmp_path: Path) -> None:
    told = hears(pair_of(tmp_path), b"", lambda peer: peer.get("/v1/peer/about", timeout_s=0.1))
    assert isinstance(told, UnreachableError)
    assert "has not answered in time" in told.message


def test_plain_text_is_no_agent(tmp_path: Path) -> None:
    told = hears(pair_of(tmp_path), b"HTTP/1.1 400 Bad\r\n\r\n", tls=False)
    assert isinstance(told, PeerError)
    assert "what it says is no TLS" in told.message


def test_another_identity_gets_no_question(tmp_path: Path) -> None:
    agents = pair_of(tmp_path)
    agents[0].keys.store_identity(make("fw1"))
    told = hears(agents, http(ABOUT, OURS))
    assert isinstance(told, PeerError)
    assert "it shows another certificate (SHA-256 " in told.message
    assert "pair again, with --replace" in told.hint


def test_who_refuses_our_certificate_is_told_of(tmp_path: Path) -> None:
    fw1, fw2 = pair_of(tmp_path)

    async def scenario() -> None:
        fw2.keys.store_identity(make("fw2"))
        async with serving(fw1):
            with pytest.raises(CarpoolError) as told:
                await fw2.peers["fw1"].about()
            assert isinstance(told.value, UnreachableError | PeerError)
            assert "fw1" in told.value.message
            assert "certificate" in told.value.hint
            introduce({name: tmp_path / name for name in ADDRESSES})
            assert (await fw2.peers["fw1"].about()).name == "fw1", "no restart after pairing"
            await fw2.close()

    asyncio.run(scenario())


def test_an_answer_that_does_not_end_is_cut(tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\ncarpool-api: 1\r\n\r\n"
    told = hears(
        pair_of(tmp_path),
        head + b" " * 2_000_000,
        lambda peer: peer.get("/v1/peer/about", max_bytes=1_000_000),
    )
    assert isinstance(told, PeerError)
    assert "answered with more than" in told.message


def test_who_moved_is_asked_where_it_was_until_it_comes(tmp_path: Path) -> None:
    """And where it is, when it has moved back."""
    fw1, fw2 = pair_of(tmp_path)
    client = fw2.peers["fw1"]
    old, new = client.door.port, free_port()

    async def scenario() -> None:
        async with serving(fw1):
            await fw2.go_by(config_of("fw2", new), {})
            assert fw2.peers["fw1"] is client
            for at, port in ((old, old), (new, new), (old, old), (new, new)):
                await fw1.go_by(config_of("fw1", at), {})
                for _by_the_connection_that_it_has_and_by_a_new_one in range(2):
                    assert (await client.about()).name == "fw1"
                assert client.door.port == port
        with pytest.raises(UnreachableError, match=f"port {new}"):
            await client.about()
        await fw2.close()

    asyncio.run(scenario())


def test_nobody_who_may_have_heard_it_is_asked_twice(tmp_path: Path) -> None:
    fw1, fw2 = pair_of(tmp_path)
    client = fw2.peers["fw1"]
    old = client.door

    async def scenario() -> None:
        async with serving(fw1), someone(fw1, http(b"", OURS)[:-9], port=free_port()) as port:
            client.move((old.source, old.target), port)
            with pytest.raises(UnreachableError, match="hung up"):
                await client.about()
            assert client.door.port == port
            await fw2.close()

    asyncio.run(scenario())


# ------------------------------------------------------------------------------------ streams


async def steps(request: Request) -> StreamingResponse:
    """`?until=3&then=fail`."""

    async def items() -> AsyncGenerator[Item, None]:
        for number in range(int(request.query_params["until"])):
            yield {"step": number}
        if request.query_params.get("then") == "fail":
            raise PeerError("fw9 broke off", hint="look at it")

    return await streamed(items())


def with_steps(agent: Agent) -> FastAPI:
    app = build(agent)
    app.add_api_route("/v1/peer/steps", steps, methods=["POST"])

    @app.put("/v1/peer/upload")
    async def upload(request: Request) -> dict[str, int]:
        return {"bytes": len(await request.body())}

    return app


def test_a_stream_comes_line_by_line_from_a_peer(tmp_path: Path) -> None:
    fw1, fw2 = pair_of(tmp_path)

    async def scenario() -> None:
        async with serving(fw1, with_steps(fw1)):
            peer = fw2.peers["fw1"]
            found = [each async for each in peer.stream("POST", "/v1/peer/steps?until=1000")]
            assert found == [{"step": number} for number in range(1000)]
            with pytest.raises(PeerError, match="fw1 answered with more than 1000 bytes"):
                async for _ in peer.stream("POST", "/v1/peer/steps?until=1000", max_bytes=1000):
                    pass
            seen = []
            with pytest.raises(CarpoolError, match="fw9 broke off") as told:
                async for each in peer.stream("POST", "/v1/peer/steps?until=2&then=fail"):
                    seen.append(each)
            assert (len(seen), told.value.hint) == (2, "look at it")
            with pytest.raises(PeerError, match="fw1: fw9 broke off"):
                async for _ in peer.stream("POST", "/v1/peer/steps?until=0&then=fail"):
                    raise AssertionError("a line")
            assert await peer.put("/v1/peer/upload", b"x" * 70_000) == {"bytes": 70_000}
            assert await peer.put("/v1/peer/upload", {"a": 1}) == {"bytes": len(b'{"a":1}')}
            await fw2.close()

    asyncio.run(scenario())
