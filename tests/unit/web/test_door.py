"""Who holds a place before shaking hands, and who loses it to whom; over real sockets and TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial

import pytest

from carpool.web.certificate import make
from carpool.web.door import Door
from tests.unit.agent.home import until

HERE, MANY, OTHER = "127.0.0.1", "127.0.0.21", "127.0.0.22"
Knock = Callable[[str], socket.socket]
Scenario = Callable[[Door, int, Knock], Awaitable[None]]


class Hello(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello")
        transport.close()


@pytest.fixture
def play() -> Iterator[Callable[[Scenario], None]]:
    """Run a scenario at a door that has three places."""
    made: list[socket.socket] = []

    async def run(scenario: Scenario) -> None:
        listener = socket.create_server((HERE, 0))
        port = listener.getsockname()[1]
        door = Door(listener, make("fw1").context(), Hello, places=3)

        def knock(source: str) -> socket.socket:
            made.append(socket.create_connection((HERE, port), 20, (source, 0)))
            made[-1].setblocking(False)
            return made[-1]

        try:
            await scenario(door, port, knock)
        finally:
            door.close()
            await until(lambda: not door.knocking, "nobody is left")

    yield lambda scenario: asyncio.run(run(scenario))
    for one in made:
        one.close()


def _holds(door: Door, wanted: int) -> bool:
    return door.knocking == wanted


async def is_cut(sock: socket.socket) -> None:
    with suppress(ConnectionError):
        assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 1), 20) == b""


def is_held(sock: socket.socket) -> bool:
    try:
        sock.recv(1)
    except BlockingIOError:
        return True
    return False


async def greeted(sock: socket.socket) -> bytes:
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(sock=sock, ssl=tls, server_hostname="fw1")
    said = await reader.read()
    writer.close()
    return said


def test_the_network_that_holds_most_places_makes_room(play: Callable[[Scenario], None]) -> None:
    async def scenario(door: Door, _port: int, knock: Knock) -> None:
        first = knock(OTHER)
        held = []
        for number in range(2):
            held.append(knock(MANY))
            await until(partial(_holds, door, number + 2), "it is taken in")
        held.append(knock(MANY))
        await is_cut(held[0])
        assert door.knocking == 3 and is_held(held[1]) and is_held(held[2])
        assert is_held(first), "the oldest, and not of those"
        assert await greeted(knock(HERE)) == b"hello", "who comes finds a place"
        assert await greeted(first) == b"hello"

    play(scenario)


def test_what_is_no_tls_is_cut_and_leaves_its_place(play: Callable[[Scenario], None]) -> None:
    async def scenario(door: Door, _port: int, knock: Knock) -> None:
        plain = knock(HERE)
        await asyncio.get_running_loop().sock_sendall(plain, b"GET / HTTP/1.1\r\n\r\n")
        await is_cut(plain)
        await until(lambda: not door.knocking, "its place is free")

    play(scenario)


def test_a_closed_door_holds_nobody(play: Callable[[Scenario], None]) -> None:
    async def scenario(door: Door, port: int, knock: Knock) -> None:
        held = knock(HERE)
        await until(lambda: door.knocking, "it is taken in")
        door.close()
        await is_cut(held)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HERE, port), 20)

    play(scenario)
