"""Who is let in, over real TLS on loopback; tests/netns/test_agent.py asks a process."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
import stat
from pathlib import Path

import pytest

from carpool.agent import listeners as subject
from carpool.agent.agent import Agent
from carpool.agent.app import build
from carpool.agent.uvicornhttp import HEAD_MAX_BYTES
from carpool.api.identity import make
from carpool.errors import KernelError
from carpool.kernel.tls import bare, pinning
from tests.unit.agent.home import (
    ADDRESSES,
    agent_of,
    config_of,
    free_port,
    pair_of,
    serving,
    until,
)

ABOUT = b"GET /v1/peer/about HTTP/1.1\r\nhost: fw1\r\n\r\n"
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(agent: Agent, context: ssl.SSLContext | None, source: str = "fw2") -> Ends:
    """To `agent` from an address of fw2, or another one."""
    own = ADDRESSES.get(source, source)
    target, port = agent.peers["fw2"].door.source, agent.peers["fw2"].door.port
    return await asyncio.open_connection(str(target), port, ssl=context, local_addr=(own, 0))


async def answer(ends: Ends, request: bytes = ABOUT) -> bytes:
    """The head of what comes back; empty when it is a refusal of any kind."""
    reader, writer = ends
    try:
        writer.write(request)
        await writer.drain()
        return await reader.readuntil(b"\r\n\r\n")
    except (OSError, asyncio.IncompleteReadError):
        return b""
    finally:
        writer.transport.abort()


def test_a_paired_peer_gets_an_answer_on_tls_1_3(tmp_path: Path) -> None:
    fw1, fw2 = pair_of(tmp_path)

    async def scenario() -> None:
        async with serving(fw1):
            context = pinning(fw2.keys.credentials("fw1"), server=False)
            assert b"200 OK" in await answer(await connect(fw1, context))
            about = await fw2.peers["fw1"].about()
            assert (about.name, about.roles) == ("fw1", None)
            await fw2.close()
        assert not fw1.refusals.counts

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", ["plain", "no_certificate", "wrong_certificate", "old_tls"])
def test_strangers_at_the_address_of_a_peer_get_nothing(tmp_path: Path, kind: str) -> None:
    fw1, fw2 = pair_of(tmp_path)
    cause = {"plain": "not_tls"}.get(kind, kind)

    def context() -> ssl.SSLContext | None:
        if kind == "plain":
            return None
        if kind == "no_certificate":
            return bare(None, server=False)
        if kind == "wrong_certificate":
            fw2.keys.store_identity(make("fw2"))
            return bare(fw2.keys.identity_path, server=False)
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
        made.load_cert_chain(fw2.keys.identity_path)
        made.maximum_version = ssl.TLSVersion.TLSv1_2
        return made

    async def scenario() -> None:
        async with serving(fw1):
            made = context()
            for _ in range(3):
                try:
                    assert await answer(await connect(fw1, made)) == b""
                except (ssl.SSLError, ConnectionError):
                    assert kind == "old_tls", "the others learn it after their handshake"
            await until(lambda: fw1.refusals.counts == {cause: 3}, f"three are counted: {cause}")

    asyncio.run(scenario())


def test_who_comes_from_another_address_does_not_even_get_a_handshake(tmp_path: Path) -> None:
    fw1, fw2 = pair_of(tmp_path)

    async def scenario() -> None:
        async with serving(fw1):
            context = pinning(fw2.keys.credentials("fw1"), server=False)
            with pytest.raises(ConnectionError):
                await connect(fw1, context, "127.0.0.99")
        assert fw1.refusals.counts == {"stranger": 1}

    asyncio.run(scenario())


def test_pairing_counts_at_once_and_unpairing_cuts_what_is_open(tmp_path: Path) -> None:
    fw1, fw2 = pair_of(tmp_path)
    context = pinning(fw2.keys.credentials("fw1"), server=False)
    pinned = fw1.keys.pinned("fw2")

    async def scenario() -> None:
        async with serving(fw1) as door:
            reader, writer = await connect(fw1, context)
            writer.write(ABOUT)
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            assert fw1.keys.unpin("fw2")
            await until(lambda: not door.state.connections, "the connection is cut")
            writer.close()
            with pytest.raises((ConnectionError, ssl.SSLError)):
                await connect(fw1, context)
            assert fw1.refusals.counts == {"not_paired": 2}
            fw1.keys.pin("fw2", pinned)
            assert b"200 OK" in await answer(await connect(fw1, context))

    asyncio.run(scenario())


def test_who_connects_too_often_or_too_much_is_turned_away(tmp_path: Path) -> None:
    fw1, fw2 = pair_of(tmp_path)
    context = pinning(fw2.keys.credentials("fw1"), server=False)
    now_s = fw1.now_s()
    fw1.now_s = lambda: now_s  # however long it takes here, it is too often

    async def scenario() -> None:
        async with serving(fw1):
            ends = [await connect(fw1, context) for _ in range(subject.CONNECTIONS_MAX)]
            for reader, writer in ends:
                writer.write(ABOUT)
                assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            with pytest.raises((ConnectionError, ssl.SSLError)):
                await connect(fw1, context)
            assert fw1.refusals.counts == {"too_many": 1}
            for _, writer in ends:
                writer.transport.abort()
            for _ in range(subject.CONNECTIONS_BURST + 5):
                with contextlib.suppress(OSError):
                    assert await answer(await connect(fw1, None), b"\n" * 600) == b""
            await until(lambda: fw1.refusals.counts["too_often"] >= 5, "most are turned away")

    asyncio.run(scenario())


def test_a_connection_that_says_nothing_is_let_go(tmp_path: Path) -> None:
    """Whether it says nothing at all or half a request, over and over."""
    agent = agent_of(tmp_path)
    now_s = agent.now_s()
    agent.now_s = lambda: now_s

    async def scenario() -> None:
        nonlocal now_s
        async with serving(agent) as door:
            silent = await asyncio.open_unix_connection(agent.socket)
            slow = await asyncio.open_unix_connection(agent.socket)
            await until(lambda: len(door.state.connections) == 2, "both are there")
            slow[1].write(b"GET /v1/about HTTP/1.1\r\n")
            now_s += subject.QUIET_MAX_S - 1
            slow[1].write(b"a: b\r\n")
            now_s += 2
            assert await silent[0].read() == b""
            assert await slow[0].read() == b""
            for _, writer in (silent, slow):
                writer.close()

    asyncio.run(scenario())


def test_a_head_that_does_not_end_is_refused(tmp_path: Path) -> None:
    agent = agent_of(tmp_path)

    async def scenario() -> None:
        async with serving(agent):
            reader, writer = await asyncio.open_unix_connection(agent.socket)
            writer.write(b"GET /v1/about HTTP/1.1\r\na: " + b"b" * (HEAD_MAX_BYTES + 1000))
            assert b" 400 " in (await reader.read())[:20]
            writer.close()

    asyncio.run(scenario())


def test_the_socket_is_for_root_and_belongs_to_one(tmp_path: Path) -> None:
    first, second = agent_of(tmp_path), agent_of(tmp_path)

    async def scenario() -> None:
        async with serving(first):
            assert stat.S_IMODE(first.socket.stat().st_mode) == 0o600
            with pytest.raises(KernelError, match="another process listens"):
                async with serving(second):
                    pass
            assert first.socket.exists(), "the loser takes nothing away"
        assert not first.socket.exists()
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(first.socket))
        async with serving(second):
            assert stat.S_ISSOCK(second.socket.stat().st_mode)

    asyncio.run(scenario())


def nobody_at(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1.0)
        return sock.connect_ex((ADDRESSES["fw1"], port)) == errno.ECONNREFUSED


def test_another_port_is_taken_up_and_what_is_under_way_on_the_old_one_goes_on(
    tmp_path: Path,
) -> None:
    fw1, fw2 = pair_of(tmp_path)
    old, new = fw1.peers["fw2"].door.port, free_port()
    begun, go_on = asyncio.Event(), asyncio.Event()
    app = build(fw1)

    @app.get("/v1/peer/slow")
    async def slow() -> dict[str, bool]:
        begun.set()
        await go_on.wait()
        return {"done": True}

    async def scenario() -> None:
        async with serving(fw1, app):
            under_way = asyncio.create_task(fw2.peers["fw1"].get("/v1/peer/slow"))
            await begun.wait()
            await fw1.go_by(config_of("fw1", new), {})
            context = pinning(fw2.keys.credentials("fw1"), server=False)
            assert b"200 OK" in await answer(await connect(fw1, context)), "at the new one"
            await until(lambda: nobody_at(old), "nobody is at the old one")
            assert not under_way.done()
            go_on.set()
            assert await under_way == {"done": True}
            await fw1.go_by(config_of("fw1", None), {})
            await until(lambda: nobody_at(new), "without [sync] nobody is there")
            await fw1.go_by(config_of("fw1", old), {})
            assert (await fw2.peers["fw1"].about()).name == "fw1"
            await fw2.close()

    asyncio.run(scenario())


def test_a_port_that_cannot_be_had_changes_nothing(tmp_path: Path) -> None:
    fw1, fw2 = pair_of(tmp_path)

    async def scenario() -> None:
        async with serving(fw1):
            before = fw1.config
            with socket.create_server((ADDRESSES["fw1"], 0)) as other:
                taken = int(other.getsockname()[1])
                with pytest.raises(KernelError, match=f"port {taken}: Address already in use"):
                    await fw1.go_by(config_of("fw1", taken), {})
            assert fw1.config is before
            assert (await fw2.peers["fw1"].about()).name == "fw1"
            await fw2.close()

    asyncio.run(scenario())
