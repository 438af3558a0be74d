"""The encrypted stream of two real states processes: who is not let in, and what each end says."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from carpool.api.identity import introduce, keys_of, make
from carpool.kernel.keys import fingerprint
from carpool.proto import statestream as ss
from tests.netns.lab import Network, holds_for, wait_until
from tests.netns.pair import GROUP, OUTSIDER, SERVER, SYNC, Pair, StatesNode, arrives, flow
from tests.netns.wallclock import WallClock

PORT = 3782
PLAIN = GROUP + 'encryption = "none"\n'


@pytest.fixture
def pair(network: Network, tmp_path: Path) -> Iterator[Pair]:
    made = Pair(network, tmp_path)
    yield made
    made.close()


def start(*nodes: StatesNode) -> None:
    for node in nodes:
        node.start_failover(master=node.name == "fw1")
        node.start()


def told(node: StatesNode, words: str) -> bool:
    return words in str(node.peer_status()["last_error"])


def knows(node: StatesNode, words: str) -> None:
    wait_until(partial(told, node, words), 6, f"{node.name} says {words!r}")


# ------------------------------------------------------------------------ somebody in between


class Middle:
    """A process's worth of man in the middle: both nodes take its address for their peer's. It
    passes every byte on, and once, when told to, alters or repeats what fw1 says."""

    def __init__(self, pair: Pair) -> None:
        self.change = "none"  # or: flip, repeat
        self.seen = bytearray()
        self._stop = threading.Event()
        with pair.server.entered():
            self._server = socket.create_server((OUTSIDER, PORT))
            # One for each second until fw2 listens, and a few.
            self._spare = [socket.socket() for _ in range(100)]
        self._server.settimeout(0.1)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5)
        for sock in (self._server, *self._spare):
            sock.close()

    def _serve(self) -> None:
        while not self._stop.is_set() and self._spare:
            with suppress(TimeoutError):
                near, _ = self._server.accept()
                far = self._spare.pop()
                with near, far, suppress(OSError):
                    far.bind((OUTSIDER, 0))
                    far.connect((SYNC["fw2"], PORT))
                    self._relay(near, far)

    def _relay(self, near: socket.socket, far: socket.socket) -> None:
        while not self._stop.is_set():
            for sock in select.select([near, far], [], [], 0.05)[0]:
                data = sock.recv(65536)
                if not data:
                    return
                if sock is near:
                    self.seen += data
                    data = self._changed(data)
                (far if sock is near else near).sendall(data)

    def _changed(self, data: bytes) -> bytes:
        change, self.change = self.change, "none"
        if change == "flip":
            return data[:-1] + bytes((data[-1] ^ 1,))
        return data * 2 if change == "repeat" else data


@contextmanager
def middle(pair: Pair) -> Iterator[Middle]:
    for node in pair.nodes:
        file = node.directory / "node.toml"
        file.write_text(file.read_text().replace(SYNC[node.peers[0]], OUTSIDER))
    made = Middle(pair)
    try:
        yield made
    finally:
        made.close()


def test_who_sits_in_between_can_read_nothing_and_each_altered_byte_ends_the_stream(
    pair: Pair,
) -> None:
    with middle(pair) as between:
        pair.start()
        with flow(socket.SOCK_STREAM, pair.client, pair.server, (SERVER, 80)) as made:
            assert made.echoes()
            wait_until(lambda: pair.fw2.find(6, 80), 5, "the connection is on fw2")
        assert len(between.seen) > 1000
        assert b"carpool" not in between.seen  # the greeting
        assert socket.inet_aton(SERVER) not in between.seen
        for count, change in enumerate(("flip", "repeat"), 1):
            between.change = change
            wait_until(lambda: pair.fw2.counter("stream_altered") == count, 8, change)  # noqa: B023
            knows(pair.fw2, "bytes were altered, replayed or lost on the way")
            pair.synchronised()  # a fresh stream, with the whole table
        assert pair.fw2.peer_status()["errors"] == 0
        pair.fw2.stop()
        assert pair.fw2.output.count("were altered") == 1  # told once
        assert f"no stream with fw1 ({OUTSIDER}): bytes were altered" in pair.fw2.output


# ------------------------------------------------------------------------------ who is not let in


@contextmanager
def from_peer(pair: Pair) -> Iterator[socket.socket]:
    """Somebody on fw2 without its keys connects to fw1, from the right address."""
    with pair.network.hosts["fw2"].entered():
        sock = socket.socket()
    with sock:
        sock.settimeout(5)
        sock.bind((SYNC["fw2"], 0))
        sock.connect((SYNC["fw1"], PORT))
        yield sock


def test_plain_text_from_the_right_address_gets_nowhere(pair: Pair) -> None:
    start(pair.fw1)

    def heard() -> bool:
        with from_peer(pair) as sock:
            sock.sendall(ss.build_hello("test", "fw2"))
            answer = sock.recv(1000)
            assert b"carpool" not in answer  # not even a greeting
        return told(pair.fw1, "what it says is no TLS")

    for _ in range(3):
        heard()
    wait_until(lambda: pair.fw1.counter("stream_not_tls") == 3, 5, "three are counted")
    # It dials, too: a second later what came of that is its last error.
    wait_until(heard, 5, "it is told")
    pair.fw1.stop()
    assert pair.fw1.output.count("is no TLS") == 1
    assert f"no stream with fw2 ({SYNC['fw2']}): what it says is no TLS" in pair.fw1.output


def test_a_handshake_that_does_not_end_is_cut_off(pair: Pair) -> None:
    """Half a ClientHello, and then nothing: the time for greeting holds for all of it."""
    start(pair.fw1)
    with from_peer(pair) as sock:
        sock.settimeout(20)  # fw1 hangs up, not we
        sock.sendall(bytes.fromhex("1603010200 010001fc 0303"))
        assert sock.recv(1000) == b""
    pair.fw1.stop()
    assert "no HELLO within 3 s" in pair.fw1.output


def test_who_comes_again_and_again_costs_little(pair: Pair) -> None:
    start(pair.fw1)

    def turned_away() -> bool:  # most of those that come at once
        for _ in range(20):
            with from_peer(pair):
                pass
        return pair.fw1.counter("stream_too_often") >= 10

    wait_until(turned_away, 5, "they are turned away")
    start(pair.fw2)
    pair.synchronised()


def test_a_new_identity_is_refused_until_it_is_paired_and_both_say_so(pair: Pair) -> None:
    fw1, fw2 = (keys_of(node.directory, node.name) for node in pair.nodes)
    fw2.store_identity(make("fw2"))
    start(*pair.nodes)
    digits = fingerprint(fw2.own())[:16]
    knows(pair.fw1, f"another certificate (SHA-256 {digits}...)")
    knows(pair.fw2, f"it refuses our certificate (SHA-256 {digits}...)")
    for node in pair.nodes:
        assert not node.peer_status()["connected"]
    assert pair.fw1.counter("stream_wrong_certificate") >= 1
    assert pair.fw2.counter("stream_refused_by_peer") >= 1
    fw1.pin("fw2", fw2.own())  # paired again: nothing is restarted
    pair.synchronised()


def test_pairing_is_noticed_within_a_second_both_ways(pair: Pair) -> None:
    homes = {node.name: node.directory for node in pair.nodes}
    keys = {name: keys_of(home, name) for name, home in homes.items()}
    for ring in keys.values():
        ring.identity_path.unlink()
    start(*pair.nodes)
    for node in pair.nodes:
        knows(node, f"{node.name} has no key and certificate")
    introduce(homes)
    pair.synchronised()
    assert pair.fw1.status()["encryption"] == "tls"
    assert keys["fw2"].unpin("fw1")
    wait_until(pair.fw2.lost_peer, 5, "fw2 drops the stream")
    knows(pair.fw2, "fw2 is not paired with fw1")
    wait_until(pair.fw1.lost_peer, 5, "fw1 loses it")
    knows(pair.fw1, "is it paired with fw1?")
    introduce(homes)
    pair.synchronised()


def test_plain_text_must_be_asked_for_on_both_sides(pair: Pair) -> None:
    pair.fw2.configure(group=PLAIN)
    start(*pair.nodes)
    knows(pair.fw1, 'is it carpool, and with encryption = "tls"')
    knows(pair.fw2, 'it speaks TLS: is encryption = "tls" in its group.toml?')
    assert pair.fw1.counter("stream_not_tls") >= 1
    pair.fw2.stop()
    assert 'NOT encrypted: encryption = "none"' in pair.fw2.output
    pair.fw1.stop()
    pair.fw1.configure(group=PLAIN)
    for node in pair.nodes:
        node.start()
    pair.synchronised()
    assert pair.fw1.status()["encryption"] == "none"
    with flow(socket.SOCK_STREAM, pair.client, pair.server, (SERVER, 80)) as made:
        assert made.echoes()
        wait_until(lambda: pair.fw2.find(6, 80), 5, "the connection is on fw2")


# ------------------------------------------------------------------------ certificates and clocks


def dated(node: str, begins: int, ends: int) -> bytes:
    """A key and a certificate that an operator made: valid for some years, and not for ever."""
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node)])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(begins, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(ends, 1, 1, tzinfo=UTC))
        .sign(key, None)
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + made.public_bytes(Encoding.PEM)


def test_a_pair_that_boots_in_1970_replicates_and_so_does_an_expired_certificate(
    pair: Pair, tmp_path: Path
) -> None:
    clock = WallClock(tmp_path / "clock")
    clock.stand_in_1970()
    keys = {node.name: keys_of(node.directory, node.name) for node in pair.nodes}
    keys["fw1"].store_identity(dated("fw1", 2025, 2999))  # not yet, by that clock
    keys["fw2"].store_identity(dated("fw2", 2001, 2002))
    introduce({node.name: node.directory for node in pair.nodes})
    pair.fw2.wrapper = clock.wrapper
    pair.start()
    with flow(socket.SOCK_STREAM, pair.client, pair.server, (SERVER, 80)) as connection:
        assert connection.echoes()
        arrives(pair.fw2, 6, 80)
    clock.right()
    holds_for(lambda: not pair.fw2.lost_peer() and not pair.fw1.lost_peer(), 2.0)
