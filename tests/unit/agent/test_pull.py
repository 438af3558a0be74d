"""What a peer may say when it is asked for what it has, whatever it is: nothing is changed then."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from carpool.agent.agent import Agent
from carpool.agent.bundle import header
from carpool.agent.doorman import Doorman
from carpool.agent.send import Wish
from carpool.errors import CarpoolError, PeerError
from carpool.model.manifest import Entry, Kind
from tests.unit.agent.home import rooted_pair, serving

NEW = b"good 2\n"
FILE = Entry(
    "/etc/web/a", Kind.FILE, 0o644, "root", "root", len(NEW), hashlib.sha256(NEW).hexdigest()
)
GOOD = header(FILE.sha256, FILE.size) + NEW


def impostor(
    fw2: Agent, entries: list[dict[str, object]], stream: bytes, *, endless: bool = False
) -> FastAPI:
    """fw2, with its keys, that answers this."""
    app = FastAPI()
    app.add_middleware(Doorman, peers=fw2.peers, refusals=fw2.refusals)

    @app.get("/v1/peer/digests")
    async def digests() -> dict[str, object]:
        return {"sections": {"web": {"live": "x", "agreed": None}}}

    @app.get("/v1/peer/sections/web")
    async def section() -> dict[str, object]:
        return {"entries": entries, "devices": {}}

    @app.post("/v1/peer/contents")
    async def contents() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield stream
            while endless:
                yield bytes(1024)
                await asyncio.sleep(0)  # or nobody would notice that the other end has gone

        return StreamingResponse(pieces())

    return app


def pulled(
    directory: Path,
    entries: list[dict[str, object]],
    stream: bytes = GOOD,
    *,
    endless: bool = False,
) -> CarpoolError:
    """Why fw1 does not take it; its own is as it was, and nothing is left in its stage."""
    fw1, fw2 = rooted_pair(directory)
    own = fw1.root / "etc/web/a"
    own.write_text("good 1\n")

    async def scenario() -> CarpoolError:
        async with serving(fw2, impostor(fw2, entries, stream, endless=endless)):
            with pytest.raises(CarpoolError) as told:
                async for _step in fw1.configuration.puller.pull(("web",), "fw2", Wish("tester")):
                    pass
        await fw1.close()
        return told.value

    error = asyncio.run(asyncio.wait_for(scenario(), 20))
    assert own.read_text() == "good 1\n"
    assert list((fw1.root / "etc/web").iterdir()) == [own]
    stages = fw1.state_dir / "sync" / "stages"
    assert not stages.exists() or not list(stages.iterdir())
    return error


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"path": "/etc/passwd"}, "does not belong to it"),
        ({"path": "/etc/web/../passwd"}, "/etc/web/../passwd"),
        ({"mode": 0o10000}, "cannot be understood"),
        ({"sha256": ""}, "has no digest"),
        ({"size": 2**40}, "expected"),
        ({"kind": "socket"}, "cannot be understood"),
        ({"strange": 1}, "cannot be understood"),
    ],
)
def test_entries_are_judged_like_those_of_an_offer(
    tmp_path: Path, wrong: dict[str, object], words: str
) -> None:
    error = pulled(tmp_path, [{**asdict(FILE), **wrong}])
    assert isinstance(error, PeerError)
    assert words in error.message


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (b"", "1 contents of section web did not come"),
        (GOOD[:-1], "ended in the middle"),
        (GOOD[:-2] + b"x\n", "arrived as"),
        (header("0" * 64, 3) + b"abc", "nobody asked for"),
        (GOOD + GOOD, "more than the 47 bytes"),
        (header(FILE.sha256, 2**60) + NEW * 2, "more than the 47 bytes"),
    ],
    ids=["nothing", "cut", "altered", "another", "twice", "longer"],
)
def test_contents_are_those_that_were_asked_for(tmp_path: Path, stream: bytes, words: str) -> None:
    error = pulled(tmp_path, [asdict(FILE)], stream)
    assert words in error.message


def test_a_stream_without_end_is_not_read_without_end(tmp_path: Path) -> None:
    assert "more than the 47 bytes" in pulled(tmp_path, [asdict(FILE)], endless=True).message


def test_more_than_anybody_has_is_not_asked_for(tmp_path: Path) -> None:
    most = 1024**3
    rows = [
        asdict(replace(FILE, path=f"/etc/web/{number}", size=most, sha256=f"{number:064x}"))
        for number in range(17)
    ]
    assert "at most" in pulled(tmp_path, rows).message
