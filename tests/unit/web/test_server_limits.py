"""What a browser cannot do to the pages, over real TLS: be slow, be large, leave the directory."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from carpool.web import page, server
from carpool.web.app import build
from carpool.web.certificate import make
from carpool.web.connection import LIMITS, Limits
from carpool.web.headers import SECURITY
from carpool.web.server import Listeners
from tests.unit.web.site import Site

HERE = "127.0.0.1"
SOON_S = 1.0  # what takes half a minute in reality; the rest must be quicker
WAIT_S = 20.0
SHORT = Limits(quiet_s=SOON_S, stalled_s=SOON_S)
FEW = Limits(connections=6)
Answer = tuple[int, dict[str, str], bytes]


class Browser:
    """One connection that says what a test wants."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def says(self, text: str) -> None:
        self.writer.write(text.encode("latin-1"))
        await self.writer.drain()

    async def hears(self) -> Answer:
        async with asyncio.timeout(WAIT_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.rstrip().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines)
            length = headers.get("content-length")
            body = await self.reader.readexactly(int(length)) if length else b""
            return int(first.split()[1]), headers, body

    async def is_cut(self) -> None:
        """Before long, whatever comes before."""
        with suppress(ConnectionError):
            async with asyncio.timeout(WAIT_S):
                await self.reader.read()


Scenario = Callable[[Callable[[], Awaitable[Browser]]], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., None]:
    """Run a scenario against the pages; it is handed what makes a connection."""
    site = Site(tmp_path)
    site.web.form_wait_s = SOON_S

    def run(scenario: Scenario, limits: Limits = LIMITS) -> None:
        async def all_of_it() -> None:
            async with _served(site, limits) as connect:
                await scenario(connect)

        asyncio.run(all_of_it())
        site.close()

    return run


@asynccontextmanager
async def _served(site: Site, limits: Limits) -> AsyncIterator[Callable[[], Awaitable[Browser]]]:
    listeners = Listeners(build(site.web), make("fw1"), limits)
    sock = server._bound(HERE, 0)
    port = sock.getsockname()[1]
    listening = listeners._door(sock)
    caring = asyncio.create_task(listeners.look_after(SOON_S / 10))
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    writers: list[asyncio.StreamWriter] = []

    async def connect() -> Browser:
        reader, writer = await asyncio.open_connection(HERE, port, ssl=context)
        writers.append(writer)
        return Browser(reader, writer)

    try:
        yield connect
    finally:
        caring.cancel()
        for writer in writers:
            writer.transport.abort()
        listening.close()
        await listeners.close()


def get(path: str) -> str:
    return f"GET {path} HTTP/1.1\r\nHost: fw1\r\n\r\n"


def test_a_head_that_trickles_in_and_a_silent_browser_are_cut(
    play: Callable[..., None],
) -> None:
    async def scenario(connect: Callable[[], Awaitable[Browser]]) -> None:
        silent, slow, kept = await connect(), await connect(), await connect()
        with suppress(ConnectionError):  # it may be cut by now
            await slow.says("GET / HTTP/1.1\r\nHost: fw1\r\n")
        with suppress(ConnectionError):
            await kept.says(get("/login"))
        for one in (silent, slow, kept):
            await one.is_cut()

    play(scenario, SHORT)


def test_a_form_that_trickles_in_is_refused(play: Callable[..., None]) -> None:
    async def scenario(connect: Callable[[], Awaitable[Browser]]) -> None:
        slow = await connect()
        await slow.says("POST /login HTTP/1.1\r\nHost: fw1\r\nContent-Length: 40\r\n\r\nname=")
        status, headers, body = await slow.hears()
        assert (status, headers["connection"]) == (408, "close") and b"too slowly" in body
        await slow.is_cut()

    play(scenario)


def test_what_is_too_large_or_no_http_is_refused(play: Callable[..., None]) -> None:
    async def scenario(connect: Callable[[], Awaitable[Browser]]) -> None:
        many = "&".join(f"a{number}=1" for number in range(page.FIELDS_MAX + 1))
        large = "x" * (page.FORM_MAX_BYTES + 1)
        for text, wanted in (
            (f"GET /login HTTP/1.1\r\nHost: fw1\r\nX: {'x' * 20_000}", 400),
            (f"GET /{'x' * 20_000}", 400),
            ("hello\r\n\r\n", 400),
            (_post(large), 413),
            (_post(many), 400),
            (_post("name=%ff"), 400),
            ("PUT /login HTTP/1.1\r\nHost: fw1\r\n\r\n", 405),
        ):
            browser = await connect()
            await browser.says(text)
            status, headers, _body = await browser.hears()
            assert status == wanted, text[:60]
            assert SECURITY.keys() <= headers.keys(), text[:60]

    play(scenario)


def test_what_ends_in_two_ways_is_answered_and_nothing_after_it_read(
    play: Callable[..., None],
) -> None:
    async def scenario(connect: Callable[[], Awaitable[Browser]]) -> None:
        smuggler = await connect()
        lengths = "Content-Length: 3\r\nTransfer-Encoding: chunked"
        await smuggler.says(f"POST /login HTTP/1.1\r\nHost: fw1\r\n{lengths}\r\n\r\n")
        await smuggler.says(f"0\r\n\r\n{get('/login')}")
        status, headers, _body = await smuggler.hears()
        assert (status, headers["connection"]) == (400, "close")
        assert SECURITY.keys() <= headers.keys()
        await smuggler.is_cut()
        late = await connect()
        chunked = "Transfer-Encoding: chunked"
        await late.says(f"POST /nothing HTTP/1.1\r\nHost: fw1\r\n{chunked}\r\n\r\n")
        assert (await late.hears())[0] == 404
        await late.says("zz\r\n\r\n")
        await late.is_cut()

    play(scenario)


def _post(form: str) -> str:
    return f"POST /login HTTP/1.1\r\nHost: fw1\r\nContent-Length: {len(form)}\r\n\r\n{form}"


def test_an_answer_that_nobody_reads_is_cut(play: Callable[..., None]) -> None:
    async def scenario(connect: Callable[[], Awaitable[Browser]]) -> None:
        deaf = await connect()
        deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
        with pytest.raises((ConnectionError, TimeoutError)):
            async with asyncio.timeout(WAIT_S):
                while True:  # its answers do not fit into what lies between us
                    await deaf.says(get("/static/htmx.min.js") * 50)
                    await asyncio.sleep(0)
        assert deaf.writer.transport.is_closing()

    play(scenario, SHORT)


def test_who_comes_finds_a_place(play: Callable[..., None]) -> None:
    async def scenario(connect: Callable[[], Awaitable[Browser]]) -> None:
        silent = [await connect() for _ in range(2 * FEW.connections)]
        comes = await connect()
        await comes.says(get("/login"))
        assert (await comes.hears())[0] == 200
        await silent[0].is_cut()

    play(scenario, FEW)


OUTSIDE = (
    "/static/../accounts.py",
    "/static/%2e%2e/accounts.py",
    "/static/..%2faccounts.py",
    "/static/..%5caccounts.py",
    "/static/....//accounts.py",
    "/static//etc/passwd",
    "/static/%2fetc%2fpasswd",
    "/static/x%00",
    "/static/",
    "/static/../templates/login.html",
    f"/static/{'a' * 5000}",
)


def test_static_files_are_those_of_their_directory(play: Callable[..., None]) -> None:
    async def scenario(connect: Callable[[], Awaitable[Browser]]) -> None:
        browser = await connect()
        await browser.says(get("/static/carpool.css"))
        assert (await browser.hears())[0] == 200
        for path in OUTSIDE:
            await browser.says(get(path))
            status, headers, body = await browser.hears()
            assert status == 404 and b"there is no such page" in body, path
            assert headers["cache-control"] == "no-store"
            assert SECURITY.keys() <= headers.keys()

    play(scenario)
