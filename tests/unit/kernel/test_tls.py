"""TLS between two nodes over loopback, with somebody in the middle who moves every byte."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from carpool.api.identity import NOT_AFTER, NOT_BEFORE, introduce, keys_of, make
from carpool.kernel.clock import monotonic_s
from carpool.kernel.keys import Trouble, fingerprint
from carpool.kernel.poller import Poller
from carpool.kernel.stream import Stream
from carpool.kernel.tls import Tls, TlsStream, bare

Change = Callable[[bytes], bytes]


@dataclass(slots=True)
class End:
    """One node's end of a stream, and what happened there."""

    sock: socket.socket
    got: bytearray = field(default_factory=bytearray)
    ends: list[str] = field(default_factory=list)
    stream: Stream | None = None

    def begin(self, poller: Poller, wire: Tls, peer: str, *, dialled: bool) -> TlsStream:
        self.stream = wire.stream(
            self.sock, poller, self.got.extend, self.ends.append, peer=peer, dialled=dialled
        )
        assert isinstance(self.stream, TlsStream)
        return self.stream

    @property
    def cause(self) -> str:
        return self.stream.cause if self.stream is not None else ""


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    return near, far


class Bench:
    """fw1, which dials, and fw2; `change` may alter what goes from fw1 to fw2."""

    def __init__(self, directory: Path) -> None:
        homes = {"fw1": directory / "fw1", "fw2": directory / "fw2"}
        introduce(homes)
        self.keys = {name: keys_of(home, name) for name, home in homes.items()}
        self.poller = Poller()
        near, self._near_side = tcp_pair()
        far, self._far_side = tcp_pair()
        self.fw1, self.fw2 = End(near), End(far)
        self.change: Change = lambda data: data
        for side, other in ((self._near_side, self._far_side), (self._far_side, self._near_side)):
            side.setblocking(False)
            self.poller.add(side, partial(self._move, side, other))

    def begin(self) -> tuple[TlsStream, TlsStream]:
        return (
            self.fw1.begin(self.poller, self.wire("fw1"), "fw2", dialled=True),
            self.fw2.begin(self.poller, self.wire("fw2"), "fw1", dialled=False),
        )

    def wire(self, node: str) -> Tls:
        return Tls(self.keys[node].directory, node)

    def until(self, done: Callable[[], object]) -> None:
        deadline_s = monotonic_s() + 10.0
        while not done():
            assert monotonic_s() < deadline_s, ("did not happen within 10 s", self.fw1, self.fw2)
            self.poller.run_once(monotonic_s() + 0.01)

    def _move(self, side: socket.socket, other: socket.socket) -> None:
        try:
            data = side.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.poller.remove(side)
            with suppress(OSError):
                other.shutdown(socket.SHUT_WR)
            return
        other.setblocking(True)
        other.sendall(self.change(data) if side is self._near_side else data)
        other.setblocking(False)

    def close(self) -> None:
        for end in (self.fw1, self.fw2):
            if end.stream is not None:
                end.stream.close()
            end.sock.close()
        self.poller.close()
        self._near_side.close()
        self._far_side.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def test_what_is_sent_arrives_and_nobody_in_between_can_read_it(bench: Bench) -> None:
    seen = bytearray()

    def listen(data: bytes) -> bytes:
        seen.extend(data)
        return data

    bench.change = listen
    near, far = bench.begin()
    near.send(b"first")  # before the handshake: it waits
    far.send(b"welcome")
    sent = b"".join(number.to_bytes(4, "big") * 1000 for number in range(1000))
    for at in range(0, len(sent), 60_000):
        near.send(sent[at : at + 60_000])
    bench.until(lambda: len(bench.fw2.got) == len(sent) + 5 and bench.fw1.got)
    assert bytes(bench.fw2.got) == b"first" + sent and bytes(bench.fw1.got) == b"welcome"
    assert near.queued_bytes == 0
    assert near.sent_bytes == far.received_bytes > len(sent) + 5  # as the wire has them
    assert len(seen) > len(sent) and sent[4000:4100] not in seen and b"first" not in seen
    near.close()
    bench.until(lambda: bench.fw2.ends)
    assert (bench.fw2.ends, bench.fw2.cause) == (["closed by the peer"], "")


def test_it_is_tls_1_3_and_no_session_is_ever_resumed(bench: Bench) -> None:
    near, far = bench.begin()
    far.send(b"welcome")
    bench.until(lambda: bench.fw1.got)
    tls = near._tls
    assert (tls.version(), tls.session_reused, tls.compression()) == ("TLSv1.3", False, None)
    assert tls.session is None or not tls.session.has_ticket


def test_a_peer_that_does_not_read_costs_no_more_than_the_limit(bench: Bench) -> None:
    near, far = bench.begin()
    far.send(b"welcome")
    bench.until(lambda: bench.fw1.got)
    bench.poller.remove(far._socket)  # it sleeps
    while near.queued_bytes <= 32 * 1024 * 1024 and not bench.fw1.ends:
        near.send(bytes(1024 * 1024))
        bench.poller.run_once(0)
        if near._failed:
            break
    bench.until(lambda: bench.fw1.ends)
    assert bench.fw1.ends[0].startswith("cannot follow")
    bench.poller.add(far._socket, far._ready)


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes((data[-1] ^ 1,))


@pytest.mark.parametrize(
    ("change", "lost"),
    [(flipped, True), (lambda data: data + data, False), (lambda data: data[:5] + data, True)],
    ids=["altered", "replayed", "shifted"],
)
def test_an_altered_or_replayed_byte_ends_the_stream(
    bench: Bench, change: Change, lost: bool
) -> None:
    near, far = bench.begin()
    near.send(b"good")
    far.send(b"welcome")
    bench.until(lambda: bench.fw2.got and bench.fw1.got)
    bench.change = change
    near.send(b"bad record")
    bench.until(lambda: bench.fw2.ends and bench.fw1.ends)
    assert bytes(bench.fw2.got) == (b"good" if lost else b"goodbad record")  # once, if at all
    assert bench.fw2.cause == "altered"
    assert bench.fw2.ends[0].startswith("bytes were altered, replayed or lost on the way (")
    assert bench.fw1.cause == "altered"  # it is told, too


def test_a_handshake_with_an_altered_byte_is_none(bench: Bench) -> None:
    bench.change = flipped
    near, _far = bench.begin()
    near.send(b"never")
    bench.until(lambda: bench.fw2.ends and bench.fw1.ends)
    assert not bench.fw2.got and bench.fw2.cause == "altered"


def test_a_whole_recorded_conversation_is_worth_nothing(bench: Bench, tmp_path: Path) -> None:
    said: list[bytes] = []

    def record(data: bytes) -> bytes:
        said.append(data)
        return data

    bench.change = record
    near, _far = bench.begin()
    near.send(b"delete everything")
    bench.until(lambda: bench.fw2.got)
    again, theirs = tcp_pair()
    replayed = End(theirs)
    stream = replayed.begin(bench.poller, bench.wire("fw2"), "fw1", dialled=False)
    again.sendall(b"".join(said))
    bench.until(lambda: replayed.ends)
    again.close()
    assert (bytes(replayed.got), stream.cause) == (b"", "altered")


def test_another_certificate_is_refused_with_its_fingerprint_and_both_ends_say_why(
    bench: Bench,
) -> None:
    """fw1 was installed again: fw2 has its old certificate."""
    fw1 = bench.keys["fw1"]
    fw1.store_identity(make("fw1"))
    near, _far = bench.begin()
    near.send(b"never")
    bench.until(lambda: bench.fw1.ends and bench.fw2.ends)
    assert (bench.fw2.cause, bench.fw1.cause) == ("wrong_certificate", "refused_by_peer")
    digits = fingerprint(fw1.own())[:16]
    pinned = fingerprint(bench.keys["fw2"].pinned("fw1"))[:16]
    assert f"another certificate (SHA-256 {digits}...) than SHA-256 {pinned}" in bench.fw2.ends[0]
    assert f"it refuses our certificate (SHA-256 {digits}...)" in bench.fw1.ends[0]
    assert "--replace" in bench.fw1.ends[0] and "--replace" in bench.fw2.ends[0]
    assert bench.fw2.got == b""


def test_a_certificate_that_the_pinned_one_has_signed_is_another_one(bench: Bench) -> None:
    """A pinned certificate is no authority."""
    fw1 = bench.keys["fw1"]
    pem = fw1.identity_path.read_bytes()
    key, issuer = load_pem_private_key(pem, None), x509.load_pem_x509_certificate(pem)
    assert isinstance(key, Ed25519PrivateKey)
    fresh = Ed25519PrivateKey.generate()
    leaf = (
        x509.CertificateBuilder()
        .subject_name(issuer.subject)
        .issuer_name(issuer.subject)
        .public_key(fresh.public_key())
        .serial_number(1)
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
        .sign(key, None)
    )
    private = fresh.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    fw1.store_identity(private + leaf.public_bytes(Encoding.PEM))
    bench.begin()[0].send(b"never")
    bench.until(lambda: bench.fw1.ends and bench.fw2.ends)
    assert (bench.fw2.cause, bench.fw1.cause) == ("wrong_certificate", "refused_by_peer")
    assert not bench.fw2.got


@pytest.mark.parametrize(("begins", "ends"), [(1970, 2001), (9000, 9999)])
def test_the_dates_of_a_pinned_certificate_decide_nothing(
    bench: Bench, begins: int, ends: int
) -> None:
    """One that carpool did not make."""
    fw1 = bench.keys["fw1"]
    key = Ed25519PrivateKey.generate()
    name = x509.load_der_x509_certificate(fw1.own()).subject
    dated = (
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
    fw1.store_identity(private + dated.public_bytes(Encoding.PEM))
    bench.keys["fw2"].pin("fw1", fw1.own())
    near, far = bench.begin()
    near.send(b"to fw2")
    far.send(b"to fw1")
    bench.until(lambda: bench.fw2.got == b"to fw2" and bench.fw1.got == b"to fw1")


def test_the_one_who_dials_is_as_careful(bench: Bench) -> None:
    bench.keys["fw2"].store_identity(make("fw2"))
    near, far = bench.begin()
    near.send(b"never")
    far.send(b"never")
    bench.until(lambda: bench.fw1.ends and bench.fw2.ends)
    assert (bench.fw1.cause, bench.fw2.cause) == ("wrong_certificate", "refused_by_peer")
    assert fingerprint(bench.keys["fw2"].own())[:16] in bench.fw1.ends[0]
    assert not bench.fw1.got and not bench.fw2.got


def stranger(bench: Bench, say: Callable[[socket.socket], None]) -> End:
    """Somebody connects to fw2 from fw1's address."""
    near, far = tcp_pair()
    near.settimeout(10)
    fw2 = End(far)
    fw2.begin(bench.poller, bench.wire("fw2"), "fw1", dialled=False).send(b"welcome")
    say(near)
    bench.until(lambda: fw2.ends)
    near.close()
    assert fw2.got == b""
    return fw2


def saying(text: bytes, *, hang_up: bool = False) -> Callable[[socket.socket], None]:
    def say(sock: socket.socket) -> None:
        sock.sendall(text)
        if hang_up:
            sock.close()

    return say


def shake(context: ssl.SSLContext) -> Callable[[socket.socket], None]:
    """Say everything that a TLS client says, whatever is answered."""

    def say(sock: socket.socket) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        half = context.wrap_bio(incoming, outgoing)
        with pytest.raises(ssl.SSLWantReadError):
            half.do_handshake()
        sock.sendall(outgoing.read())

    return say


def test_plain_text_is_told_as_such(bench: Bench) -> None:
    for text in (b"GET / HTTP/1.0\r\n\r\n", bytes.fromhex("0000001c01000000") + b"carpool\0"):
        fw2 = stranger(bench, saying(text))
        assert fw2.cause == "not_tls"
        assert 'encryption = "tls"' in fw2.ends[0]


def test_old_tls_is_refused(bench: Bench) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    fw2 = stranger(bench, shake(context))
    assert (fw2.cause, fw2.ends[0].partition(" (")[0]) == ("old_tls", "it does not speak TLS 1.3")


def test_who_shows_no_certificate_is_told_so(bench: Bench) -> None:
    """Python trusts nobody here, and goes on as far as it is let."""
    near, far = tcp_pair()
    fw2 = End(far)
    fw2.begin(bench.poller, bench.wire("fw2"), "fw1", dialled=False).send(b"welcome")
    context = bare(None, server=False)
    with context.wrap_socket(near, do_handshake_on_connect=False) as tls:
        tls.setblocking(False)

        def over() -> bool:
            with suppress(OSError):
                tls.do_handshake()
                tls.send(b"hello")
            return bool(fw2.ends)

        bench.until(over)
    fw2.sock.close()
    assert fw2.cause == "no_certificate" and not fw2.got
    assert "who is at its address?" in fw2.ends[0]


def test_who_hangs_up_is_told(bench: Bench) -> None:
    fw2 = stranger(bench, lambda sock: sock.shutdown(socket.SHUT_WR))
    assert fw2.cause == "hung_up"
    assert "is it paired with fw2?" in fw2.ends[0]


def test_garbage_of_any_size_ends_it(bench: Bench) -> None:
    for text in (
        b"\x16\x03\x01\xff\xff" + b"\xff" * 70000,
        b"\x16\x03\x01\x00\x05\x01\xff\xff\xff\0",
    ):
        fw2 = stranger(bench, saying(text, hang_up=True))
        assert fw2.cause in ("altered", "hung_up")


def test_an_end_comes_before_a_key_is_worn_out(bench: Bench) -> None:
    near, _far = bench.begin()
    near.key_max_bytes = 100_000
    near.send(bytes(100_000))
    bench.until(lambda: len(bench.fw2.got) == 100_000)
    assert bench.fw1.ends == []
    near.send(b"one more")
    bench.until(lambda: bench.fw1.ends)
    assert bench.fw1.ends == ["100008 bytes went out under one key: a fresh stream follows"]


def test_files_that_cannot_be_used_are_told_before_a_stream_begins(bench: Bench) -> None:
    wire, fw1 = bench.wire("fw1"), bench.keys["fw1"]
    with pytest.raises(Trouble, match="not paired with fw3"):
        wire.check("fw3")
    key = fw1.identity_path.read_text().partition("-----BEGIN CERT")[0]
    other = bench.keys["fw2"].identity_path.read_text().partition("-----BEGIN CERT")
    fw1.identity_path.write_text(key + other[1] + other[2])
    with pytest.raises(
        Trouble, match=r"cannot use the key and certificate in .*node\.pem: key val"
    ):
        bench.fw1.begin(bench.poller, wire, "fw2", dialled=True)


def test_a_stream_is_no_longer_good_when_its_files_change(bench: Bench) -> None:
    near, _far = bench.begin()
    wire, fw1 = bench.wire("fw1"), bench.keys["fw1"]
    wire.check("fw2", near)
    before = fw1.pinned("fw2")
    fw1.pin("fw2", fw1.own())
    with pytest.raises(Trouble, match="paired anew"):
        wire.check("fw2", near)
    fw1.pin("fw2", before)
    wire.check("fw2", near)  # the same again
    fw1.unpin("fw2")
    with pytest.raises(Trouble, match="not paired with fw2"):
        wire.check("fw2", near)
