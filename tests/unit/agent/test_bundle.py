"""Contents in one stream, cut anywhere."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.agent.bundle import PIECE_BYTES, header, in_thread, unbundle
from carpool.agent.bundle import bundled as sending
from carpool.errors import KernelError, PeerError
from carpool.kernel import tree
from carpool.model.manifest import Entry, Kind
from carpool.model.section import Section


def bundled(contents: list[bytes]) -> bytes:
    return b"".join(
        header(hashlib.sha256(content).hexdigest(), len(content)) + content for content in contents
    )


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(1, 400))
def test_what_went_in_comes_out(contents: list[bytes], size: int) -> None:
    found = [b"".join(pieces) for _sha, _size, pieces in unbundle(cut(bundled(contents), size))]
    assert found == contents


def test_what_the_reader_leaves_is_passed_over() -> None:
    found = [(sha[:2], size) for sha, size, _ in unbundle(cut(bundled([b"one", b"three"]), 2))]
    assert found == [("76", 3), ("8b", 5)]


@given(st.binary(min_size=1, max_size=50), st.data())
def test_a_stream_that_ends_early_is_refused(content: bytes, data: st.DataObject) -> None:
    whole = bundled([content])
    part = whole[: data.draw(st.integers(1, len(whole) - 1))]
    with pytest.raises(PeerError, match="in the middle"):
        for _sha, _size, pieces in unbundle([part]):
            list(pieces)


async def _chunks(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * 1000


def large(root: Path) -> list[tuple[Entry, Path]]:
    """Files of more than a piece, and one of nothing."""
    (root / "etc").mkdir()
    for number, size in enumerate((PIECE_BYTES + 1, 0, 3 * PIECE_BYTES)):
        (root / f"etc/{number}").write_bytes(os.urandom(size))
    found = tree.scan(Section("etc", ("/etc/",)), tree.Digests(), root)
    return [(one, root) for one in found.values() if one.kind is Kind.FILE]


def test_files_come_out_as_they_are(tmp_path: Path) -> None:
    files = large(tmp_path)

    async def sent() -> list[bytes]:
        return [piece async for piece in sending(files)]

    found = {sha: b"".join(pieces) for sha, _, pieces in unbundle(asyncio.run(sent()))}
    assert found == {one.sha256: (root / one.path[1:]).read_bytes() for one, root in files}


def test_a_file_that_changed_ends_the_stream(tmp_path: Path) -> None:
    files = large(tmp_path)
    with (tmp_path / "etc/2").open("r+b") as file:
        file.write(b"changed")

    async def sent() -> int:
        return sum([len(piece) async for piece in sending(files)])

    with pytest.raises(KernelError, match="/etc/2 changed after it was looked at"):
        asyncio.run(sent())


def test_a_stream_that_nobody_wants_any_more_leaves_nothing_behind(tmp_path: Path) -> None:
    """Not even what reading ahead found out."""
    files = large(tmp_path)
    (tmp_path / "etc/2").unlink()
    told: list[object] = []

    async def some() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, what: told.append(what))
        async with aclosing(sending(files)) as pieces:
            async for _piece in pieces:
                break

    asyncio.run(some())
    gc.collect()
    assert told == []


def test_work_in_a_thread_gets_all_chunks() -> None:
    got: list[int] = []
    asyncio.run(in_thread(_chunks(100), lambda chunks: got.append(sum(map(len, chunks)))))
    assert got == [100_000]


def test_work_that_fails_does_not_hold_the_network_up() -> None:
    def fail(chunks: Iterator[bytes]) -> None:
        next(chunks)
        raise KernelError("disk full")

    with pytest.raises(KernelError, match="disk full"):
        asyncio.run(asyncio.wait_for(in_thread(_chunks(100), fail), 20))


def test_work_that_wants_no_more_does_not_hold_the_network_up() -> None:
    def one(chunks: Iterator[bytes]) -> None:
        next(chunks)

    asyncio.run(asyncio.wait_for(in_thread(_chunks(100), one), 20))


def test_streams_that_are_slow_leave_the_loops_threads_to_others() -> None:
    """It has six on a small firewall, and each peer may ask for eight things at once."""
    got: list[int] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(2))
        go_on = asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield b"x"
            await go_on.wait()
            yield b"x"

        work = [
            asyncio.create_task(in_thread(slow(), lambda chunks: got.append(len(list(chunks)))))
            for _ in range(3)
        ]
        await asyncio.sleep(0)  # all have begun
        try:
            await asyncio.wait_for(asyncio.to_thread(len, ""), 20)
        finally:
            loop.set_default_executor(ThreadPoolExecutor(8))  # or a failure would never end
            go_on.set()
        await asyncio.gather(*work)

    asyncio.run(scenario())
    assert got == [2, 2, 2]
