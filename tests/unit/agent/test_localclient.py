"""The command line's client, when the agent answers, refuses, breaks off, or is not there."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from carpool.agent.agent import Agent
from carpool.agent.app import build
from carpool.agent.localclient import SOCKET, LocalClient
from carpool.agent.ndjson import Item, streamed
from carpool.errors import CarpoolError, ConfigError, PeerError, UnreachableError
from tests.unit.agent.home import agent_of, serving


def with_steps(agent: Agent) -> FastAPI:
    app = build(agent)

    @app.post("/v1/steps")
    async def steps(until: int, then: str = "") -> StreamingResponse:
        async def items() -> AsyncGenerator[Item, None]:
            for number in range(until):
                yield {"step": number}
            if then == "fail":
                raise PeerError("fw9 broke off", hint="look at it")

        return await streamed(items())

    @app.post("/v1/conflict")
    async def conflict() -> None:
        raise ConfigError("group.toml is wrong", hint="mend it")

    @app.get("/v1/echo")
    async def echo(text: str) -> dict[str, str]:
        return {"text": text}

    return app


@contextmanager
def running(agent: Agent, app: FastAPI) -> Iterator[None]:
    """The agent in a thread, as the command line finds it in another process."""
    ready, stop = threading.Event(), threading.Event()

    async def main() -> None:
        async with serving(agent, app):
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    assert ready.wait(10)
    try:
        yield
    finally:
        stop.set()
        thread.join(10)


def test_the_command_line_asks_its_own_agent(tmp_path: Path) -> None:
    agent = agent_of(tmp_path)
    with running(agent, with_steps(agent)), LocalClient(agent.run_dir) as local:
        assert local.get("/v1/about")["name"] == "fw1"
        assert local.get("/v1/echo", {"text": "a b&c=ä"}) == {"text": "a b&c=ä"}
        with pytest.raises(ConfigError, match="is wrong") as told:
            local.post("/v1/conflict")
        assert told.value.hint == "mend it"
        found = list(local.stream("POST", "/v1/steps?until=3"))
        assert found == [{"step": 0}, {"step": 1}, {"step": 2}]
        with pytest.raises(CarpoolError, match="fw9 broke off"):
            list(local.stream("POST", "/v1/steps?until=3&then=fail"))


def test_an_agent_that_does_not_run_is_told_with_what_to_do(tmp_path: Path) -> None:
    with LocalClient(tmp_path) as local, pytest.raises(UnreachableError) as told:
        local.get("/v1/about")
    assert f"the agent does not run ({tmp_path}/agent.sock: No such file" in told.value.message
    assert told.value.hint == "start it: `carpool run agent`"


@contextmanager
def someone(run_dir: Path, says: bytes) -> Iterator[None]:
    """Somebody at the agent's place who reads a request and says this; nothing: who waits."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(run_dir / SOCKET))
        listener.listen()

        def serve() -> None:
            stream, _address = listener.accept()
            with stream:
                stream.recv(65536)
                stream.sendall(says)
                while not says and stream.recv(65536):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join(10)


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("says", "kind", "words"),
    [
        (b"", UnreachableError, "has not answered on"),
        (b"SSH-2.0-x\r\n\r\n", UnreachableError, "the agent broke off"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", UnreachableError, "broke off"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", PeerError, "no JSON object"),
        (b"HTTP/1.1 500 Bad\r\ncontent-length: 1\r\n\r\n?", CarpoolError, "HTTP status 500"),
    ],
)
def test_whatever_answers_is_told_in_words(
    tmp_path: Path, says: bytes, kind: type[CarpoolError], words: str
) -> None:
    with someone(tmp_path, says), LocalClient(tmp_path) as local:
        with pytest.raises(kind, match=words):
            local.get("/v1/about", timeout_s=0.1 if not says else 10)


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (b'8\r\n{"a": 1}\r\n0\r\n\r\n', PeerError, "in the middle of a line"),
        (b'9\r\n{"a": 1}\n\r\n', UnreachableError, "the agent broke off"),
        (b"4\r\n[1]\n\r\n0\r\n\r\n", PeerError, "expected a JSON object"),
    ],
)
def test_a_stream_that_ends_too_early_is_no_end(
    tmp_path: Path, content: bytes, kind: type[CarpoolError], words: str
) -> None:
    with someone(tmp_path, CHUNKED + content), LocalClient(tmp_path) as local:
        with pytest.raises(kind, match=words):
            list(local.stream("POST", "/v1/steps"))


def test_verbs_do_not_wait_for_what_the_agent_is_made_of() -> None:
    """Loading it takes longer than most answers; the standard library's part does, too."""
    heavy = ("asyncio", "fastapi", "httpx", "pydantic", "rich", "starlette", "uvicorn")
    verbs = ("drift", "services", "status", "sync")
    code = f"import sys; {'; '.join(f'import carpool.cli.{verb}' for verb in verbs)}; "
    code += f"print(*(name for name in {heavy} if name in sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == []
