"""Who watches failover hears what it says, and reads the files anew when they were put back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from carpool.agent.watch import SOME, Told, reread, watch
from tests.unit.agent.home import until

Writers = list[asyncio.StreamWriter]


def heard(directory: Path, scenario: Callable[[Writers, list[int]], Awaitable[None]]) -> None:
    """`scenario` with those who watch a socket of failover, and how often files were read anew."""
    path = directory / "failover.sock"
    writers: Writers = []
    times: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b'{"command": "watch"}\n'
        writer.write(b'{"ok": true, "master": false}\n')
        writers.append(writer)

    async def reload() -> None:
        times.append(1)

    async def main() -> None:
        task = asyncio.create_task(reread(path, reload, 0.02))
        server = await asyncio.start_unix_server(serve, path)
        try:
            await until(lambda: times, "failover that starts may have put files back")
            await scenario(writers, times)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            for writer in writers:
                writer.close()
            server.close()

    asyncio.run(main())


def test_files_that_are_put_back_are_read_anew(tmp_path: Path) -> None:
    async def scenario(writers: Writers, times: list[int]) -> None:
        writers[0].write(b'{"master": true}\n')  # is no reason
        writers[0].write(b'{"master": true, "reload": true}\n')
        await until(lambda: len(times) == 2, "they are read anew")

    heard(tmp_path, scenario)


def test_failover_that_starts_again_may_have_put_them_back(tmp_path: Path) -> None:
    async def scenario(writers: Writers, times: list[int]) -> None:
        writers[0].close()
        await until(lambda: len(times) == 2, "it is heard again")

    heard(tmp_path, scenario)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b'{"master": false, "masters": []}', Told(False)),
        (
            b'{"master": true, "masters": ["51@lan", "52@wan"]}',
            Told(True, frozenset({"51@lan", "52@wan"})),
        ),
        (b'{"master": true}', Told(True, frozenset({SOME}))),  # an older failover
        (b'{"master": false}', Told(False)),
        (b'{"master": true, "masters": 1}', Told(True)),
    ],
)
def test_what_failover_says(line: bytes, told: Told, tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(line + b"\n")
        writer.close()

    async def main() -> list[Told]:
        async with await asyncio.start_unix_server(serve, tmp_path / "failover.sock"):
            return [one async for one in watch(tmp_path / "failover.sock")]

    assert asyncio.run(main()) == [told]
