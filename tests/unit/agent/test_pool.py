"""Requests that nobody waits for any more, cancelled at each turn of the loop."""

from __future__ import annotations

import asyncio
import gc

import httpx
import pytest

from carpool.agent.pool import Pool

TURNS = 40  # more than a request takes to be answered
CONNECTIONS = 2


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


@pytest.mark.parametrize("others", [0, 1])
def test_who_stops_waiting_takes_no_connection_with_it(others: int) -> None:
    """`others`: for how many there is no connection meanwhile."""

    def made() -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=CONNECTIONS)
        return httpx.AsyncClient(timeout=5.0, limits=limits, trust_env=False)

    async def days() -> None:
        server = await asyncio.start_server(answers, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        pool = Pool(made)

        async def ask() -> bytes:
            async with pool.send(httpx.Request("GET", url)) as response:
                return await response.aread()

        for turns in range(TURNS):
            asked = [asyncio.create_task(ask()) for _ in range(CONNECTIONS + others)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
            assert await ask() == b"ok", turns
        await pool.close()
        server.close()
        await server.wait_closed()

    asyncio.run(days())
    gc.collect()  # a socket that nobody closed would warn now


def test_one_who_stops_waiting_disturbs_no_other() -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await going_on.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    going_on = asyncio.Event()

    async def days() -> None:
        server = await asyncio.start_server(slow, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        pool = Pool(lambda: httpx.AsyncClient(timeout=20.0, trust_env=False))

        async def ask() -> bytes:
            async with pool.send(httpx.Request("GET", url)) as response:
                return await response.aread()

        first, second = asyncio.create_task(ask()), asyncio.create_task(ask())
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        third = asyncio.create_task(ask())
        going_on.set()
        assert await first == await third == b"ok"
        await pool.close()
        server.close()
        await server.wait_closed()

    asyncio.run(days())
