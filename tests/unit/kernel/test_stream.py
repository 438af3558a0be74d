"""TCP streams of the states process, over loopback: bounded, never called back from within send."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, ip_address

import pytest

from carpool.errors import KernelError
from carpool.kernel.clock import monotonic_s
from carpool.kernel.poller import Poller
from carpool.kernel.stream import QUEUE_MAX_BYTES, Dial, Listener, Stream
from carpool.model.config import Address
from tests.ports import free_port

HERE, ALSO_HERE = IPv4Address("127.0.0.1"), IPv4Address("127.0.0.2")


class Bench:
    """A poller, a listener on HERE that accepts from HERE, and what happened."""

    def __init__(self) -> None:
        self.poller = Poller()
        self.accepted: list[socket.socket] = []
        self.strangers: list[Address] = []
        self.port = free_port([str(HERE)])
        self.listener = Listener(
            HERE,
            self.port,
            [HERE],
            self.poller,
            on_accept=lambda sock, _source: self.accepted.append(sock),
            on_stranger=self.strangers.append,
        )

    def until(self, done: Callable[[], object]) -> None:
        deadline_s = monotonic_s() + 10.0
        while not done():
            assert monotonic_s() < deadline_s, "did not happen within 10 s"
            self.poller.run_once(monotonic_s() + 0.01)

    def dial(self, source: Address, port: int | None = None) -> tuple[socket.socket | None, str]:
        done: list[tuple[socket.socket | None, str]] = []
        dial = Dial(
            source, HERE, port or self.port, self.poller, lambda *result: done.append(result)
        )
        self.until(lambda: done)
        assert dial.over
        return done[0]

    def connected(self) -> tuple[socket.socket, socket.socket]:
        """Both ends of a connection: dialled, accepted."""
        near, reason = self.dial(HERE)
        assert near is not None, reason
        self.until(lambda: self.accepted)
        return near, self.accepted.pop()

    def close(self) -> None:
        self.listener.close()
        for sock in self.accepted:
            sock.close()
        self.poller.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def test_what_is_sent_arrives_in_order_however_much_it_is(bench: Bench) -> None:
    near, far = bench.connected()
    got, ends = bytearray(), list[str]()
    reader = Stream(far, bench.poller, got.extend, ends.append)
    writer = Stream(near, bench.poller, got.extend, ends.append)
    sent = b"".join(number.to_bytes(4, "big") * 1000 for number in range(3000))
    for at in range(0, len(sent), 60_000):
        writer.send(sent[at : at + 60_000])
    assert writer.queued_bytes > 0
    bench.until(lambda: len(got) == len(sent))
    assert got == sent and writer.queued_bytes == 0
    assert (writer.sent_bytes, reader.received_bytes) == (len(sent), len(sent))
    writer.close()
    bench.until(lambda: ends)
    assert ends == ["closed by the peer"] and reader.closed
    writer.send(b"more")  # harmless
    writer.close()


def test_who_does_not_read_is_dropped_at_the_limit(bench: Bench) -> None:
    near, far = bench.connected()
    ends: list[str] = []
    writer = Stream(near, bench.poller, lambda data: None, ends.append)
    sent, most = 0, 0
    while writer.queued_bytes or not most:  # the kernel's own buffers take the first of it
        writer.send(bytes(1024 * 1024))
        sent += 1024 * 1024
        most = max(most, writer.queued_bytes)
        assert sent < 4 * QUEUE_MAX_BYTES
    assert most > QUEUE_MAX_BYTES - 2 * 1024 * 1024
    assert ends == []  # never from within send
    bench.until(lambda: ends)
    assert ends[0].startswith("cannot follow") and writer.closed
    far.close()


def test_last_words_are_read_although_the_other_side_was_speaking(bench: Bench) -> None:
    near, far = bench.connected()
    far.sendall(b"unread" * 1000)
    writer = Stream(near, bench.poller, lambda data: None, lambda reason: None)
    writer.send(b"goodbye")
    writer.close()
    far.setblocking(True)
    far.settimeout(5)
    assert far.recv(100) == b"goodbye"
    assert far.recv(100) == b""
    far.close()


def test_a_reset_is_told_once(bench: Bench) -> None:
    near, far = bench.connected()
    ends: list[str] = []
    writer = Stream(near, bench.poller, lambda data: None, ends.append)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    far.close()
    bench.until(lambda: ends)
    assert ends == ["receive: Connection reset by peer"]
    assert writer.closed


def test_strangers_are_reset_and_told(bench: Bench) -> None:
    sock, reason = bench.dial(ALSO_HERE)
    bench.until(lambda: bench.strangers)
    assert bench.strangers == [ALSO_HERE] and bench.accepted == []
    if sock is None:  # the reset was faster than we
        assert reason == "connect: Connection reset by peer"
        return
    sock.settimeout(5)
    with sock, pytest.raises(ConnectionResetError):
        sock.recv(1)


def test_a_refused_connection_says_so(bench: Bench) -> None:
    with socket.socket() as taken:
        taken.bind((str(HERE), 0))  # bound, and nobody listens
        assert bench.dial(HERE, taken.getsockname()[1]) == (None, "connect: Connection refused")


def test_an_attempt_without_a_route_says_so_too(bench: Bench) -> None:
    done: list[tuple[socket.socket | None, str]] = []
    Dial(HERE, ip_address("198.51.100.1"), 1, bench.poller, lambda *result: done.append(result))
    assert done == []  # from the loop only
    bench.until(lambda: done)
    sock, reason = done[0]
    assert sock is None and reason.startswith("connect: ")


def test_an_attempt_that_was_given_up_is_silent(bench: Bench) -> None:
    done: list[object] = []
    dial = Dial(HERE, HERE, bench.port, bench.poller, lambda *result: done.append(result))
    dial.give_up()
    dial.give_up()
    bench.poller.run_once(monotonic_s() + 0.05)
    assert done == []


def test_a_taken_port_is_told_with_address_and_port(bench: Bench) -> None:
    with pytest.raises(KernelError, match=f"127.0.0.1 port {bench.port}.*in use"):
        Listener(
            HERE,
            bench.port,
            [],
            bench.poller,
            on_accept=lambda sock, source: None,
            on_stranger=lambda source: None,
        )
