"""Pairing over loopback: each node an address of its own, both sides real, strangers hostile."""

from __future__ import annotations

import contextlib
import hashlib
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from carpool.api import identity, pairing
from carpool.errors import CarpoolError, ConfigError, PeerError
from carpool.kernel.clock import monotonic_s, sleep_s
from carpool.kernel.tls import bare
from carpool.machine.pairing import Partner
from carpool.model.config import Config, Group, Node, Peer, States
from carpool.proto import pairing as pr
from carpool.proto.paircode import Code
from tests.ports import free_port

AT = {name: ip_address(f"127.0.0.{number}") for number, name in enumerate(("fw1", "fw2", "fw3"), 1)}
AT["gw"] = AT["fw1"]  # another name for it
STRANGER = "127.0.0.99"


def config_of(name: str, *peers: str, group: str = "edge", at: str = "") -> Config:
    node = Node(
        name,
        interfaces={"sync": "sync0"},
        addresses={"sync": (AT[at or name],)},
        peers=tuple(Peer(peer, {"sync": (AT[peer],)}) for peer in peers),
    )
    return Config(node, Group(group, (), states=States("sync")))


class Box:
    """One node."""

    def __init__(
        self, home: Path, name: str, *peers: str, group: str = "edge", at: str = ""
    ) -> None:
        self.config = config_of(name, *peers, group=group, at=at)
        (home / name).mkdir(parents=True)
        self.keys = identity.keys_of(home / name, name)
        identity.ensure(self.keys)

    @property
    def own(self) -> bytes:
        return self.keys.own()


class Waiting:
    """`carpool init` on a node, in a thread."""

    def __init__(self, box: Box, *, timeout_s: float = 20.0, replace: bool = False) -> None:
        self.port = free_port([str(box.config.node.addresses["sync"][0])])
        self.told: list[str] = []
        self.shown = pr.Shown(b"name = 1", b"secrets " * 8000)
        self.result: Partner | CarpoolError | None = None
        self._initiation = pairing.Initiation(
            box.config,
            box.keys,
            port=self.port,
            replace=replace,
            tell=self.told.append,
            shown=self.shown,
        )
        self.code = self._initiation.code
        self._thread = threading.Thread(target=self._wait, args=(timeout_s,))
        self._thread.start()

    def _wait(self, timeout_s: float) -> None:
        try:
            self.result = self._initiation.wait(timeout_s)
        except CarpoolError as error:
            self.result = error
        finally:
            self._initiation.close()

    def outcome(self) -> Partner | CarpoolError | None:
        self._thread.join(25)
        assert not self._thread.is_alive()
        return self.result

    def partner(self) -> Partner:
        result = self.outcome()
        assert isinstance(result, Partner), result
        return result

    def tells(self, words: str) -> None:
        deadline_s = monotonic_s() + 10
        while not any(words in text for text in self.told):
            assert monotonic_s() < deadline_s, self.told
            sleep_s(0.01)


Wait = Callable[..., Waiting]


@pytest.fixture
def wait() -> Iterator[Wait]:
    made: list[Waiting] = []

    def begin(box: Box, **options: object) -> Waiting:
        made.append(Waiting(box, **options))  # type: ignore[arg-type]
        return made[-1]

    yield begin
    for waiting in made:
        if waiting.result is None:  # whatever a test left: use up the guesses
            for _ in range(3):
                guess(waiting)
        waiting.outcome()


def join(
    box: Box, to: Waiting, *, at: str = "fw1", code: Code | None = None, again: bool = False
) -> Partner:
    return pairing.join(box.config, box.keys, AT[at], code or to.code, port=to.port, replace=again)


def connected(to: Waiting, source: str = str(AT["fw2"])) -> socket.socket:
    sock = socket.create_connection((str(AT["fw1"]), to.port), 5, (source, 0))
    sock.settimeout(10)
    return sock


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def guess(to: Waiting, version: int = 2) -> str:
    """Somebody who does not know the code tries; what he is told. With a certificate of any
    version: 2 means 3."""
    pem = identity.make("fw2").decode()
    certificate = ssl.PEM_cert_to_DER_cert(pem[pem.index(ssl.PEM_HEADER) :])
    certificate = certificate.replace(b"\xa0\3\2\1\2", b"\xa0\3\2\1" + bytes([version]))
    return say(to, pr.Join("fw2", "edge", certificate, b"\0" * 32))


def say(to: Waiting, join: pr.Join) -> str:
    """Why this is refused."""
    with bare(None, server=False).wrap_socket(connected(to)) as tls:
        tls.sendall(pr.build(join))
        data = b""
        while piece := tls.recv(4096):
            data += piece
    messages = []
    while data:
        length = pr.LENGTH.unpack_from(data)[0]
        messages.append(pr.parse(data[4 : 4 + length]))
        data = data[4 + length :]
    assert isinstance(messages[-1], pr.Refuse), messages
    return messages[-1].reason


@pytest.fixture
def fw1(tmp_path: Path) -> Box:
    return Box(tmp_path, "fw1", "fw2", "fw3")


@pytest.fixture
def fw2(tmp_path: Path) -> Box:
    return Box(tmp_path, "fw2", "fw1", "fw3")


def test_each_ends_with_the_other_pinned(fw1: Box, fw2: Box, wait: Wait) -> None:
    waiting = wait(fw1)
    assert join(fw2, waiting) == Partner("fw1", fw1.own)
    assert waiting.partner() == Partner("fw2", fw2.own)
    assert (fw1.keys.pinned("fw2"), fw2.keys.pinned("fw1")) == (fw2.own, fw1.own)
    assert waiting.told == []


def test_a_third_node(fw1: Box, fw2: Box, tmp_path: Path, wait: Wait) -> None:
    fw3 = Box(tmp_path, "fw3", "fw1", "fw2")
    for box in (fw2, fw3):
        waiting = wait(fw1)
        join(box, waiting)
        waiting.partner()
    assert fw1.keys.names() == ["fw2", "fw3"]
    assert fw3.keys.names() == ["fw1"]


def test_a_wrong_code_three_times(fw1: Box, fw2: Box, wait: Wait) -> None:
    waiting = wait(fw1)
    wrong = replace(waiting.code, secret=waiting.code.secret ^ 1)
    for left in (2, 1, 0):
        with pytest.raises(PeerError, match=f"not the code that fw1 shows; guesses left: {left}"):
            join(fw2, waiting, code=wrong)
    outcome = waiting.outcome()
    assert isinstance(outcome, CarpoolError) and "3 wrong codes were tried" in outcome.message
    with pytest.raises(PeerError, match=r"nobody waits at 127\.0\.0\.1"):
        join(fw2, waiting)
    assert fw1.keys.names() == fw2.keys.names() == []
    assert "127.0.0.2 did not join: that is not the code" in waiting.told[0]


def test_a_strange_certificate_is_a_guess_as_any_other(fw1: Box, fw2: Box, wait: Wait) -> None:
    waiting = wait(fw1)
    assert "not the code that fw1 shows; guesses left: 2" in guess(waiting, version=4)
    join(fw2, waiting)
    waiting.partner()


def test_one_who_knows_the_code_is_told_that_his_certificate_is_none(
    fw1: Box, fw2: Box, wait: Wait
) -> None:
    waiting = wait(fw1)
    parties = pr.Parties("edge", "fw1", sha256(fw1.own), "fw2", sha256(b"none"))
    proof = pr.proof(waiting.code.secret, pr.Role.JOINER, parties)
    assert say(waiting, pr.Join("fw2", "edge", b"none", proof)) == "that is no certificate"
    join(fw2, waiting)
    waiting.partner()


def test_a_code_expires(fw1: Box, fw2: Box, wait: Wait) -> None:
    outcome = wait(fw1, timeout_s=0.05).outcome()
    assert isinstance(outcome, CarpoolError)
    assert outcome.message == "nobody joined in 0 s: the code is void"


def test_one_who_answers_without_the_certificate_of_the_code_learns_nothing(
    fw1: Box, fw2: Box, tmp_path: Path, wait: Wait
) -> None:
    """Somebody has taken the address of fw1, with a certificate that says fw1."""
    false = Box(tmp_path / "false", "fw1", "fw2")
    waiting = wait(false)
    code = replace(waiting.code, fingerprint=b"\0" * 10)
    with pytest.raises(PeerError, match="is not the one that made this code") as caught:
        join(fw2, waiting, code=code)
    assert "nothing was sent" in caught.value.hint
    waiting.tells("127.0.0.2 did not join: it hung up")
    assert fw2.keys.names() == []


def test_nothing_is_replaced_unless_both_say_so(
    fw1: Box, fw2: Box, tmp_path: Path, wait: Wait
) -> None:
    waiting = wait(fw1)
    join(fw2, waiting)
    waiting.partner()
    fresh = Box(tmp_path / "installed-anew", "fw2", "fw1")
    waiting = wait(fw1)
    with pytest.raises(PeerError, match="it refuses: fw1 is paired with fw2 already, by another"):
        join(fresh, waiting)
    waiting.tells("say --replace on fw1")
    assert fw1.keys.pinned("fw2") == fw2.own
    join(fw2, waiting)  # the known one may come again
    waiting.partner()
    waiting = wait(fw1, replace=True)
    join(fresh, waiting)
    waiting.partner()
    assert fw1.keys.pinned("fw2") == fresh.own
    fw1.keys.store_identity(identity.make("fw1"))
    waiting = wait(fw1)
    with pytest.raises(PeerError, match="fw2 is paired with fw1 already, by another"):
        join(fresh, waiting)
    waiting.tells("127.0.0.2 did not join: it refuses: fw2 is paired with fw1 already")
    join(fresh, waiting, again=True)
    waiting.partner()
    assert fresh.keys.pinned("fw1") == fw1.own


@pytest.mark.parametrize(
    ("name", "peers", "group", "words"),
    [
        ("fw2", ("fw1",), "other", "'fw1' is of group 'edge', fw2 of 'other'"),
        ("fw2", ("gw",), "edge", "'fw1' is no peer in node.toml of fw2, which names: gw"),
        ("fw1", ("gw",), "edge", "both nodes are called fw1"),
    ],
    ids=["group", "unknown", "name"],
)
def test_what_does_not_fit_is_told_on_both_sides(
    fw1: Box, tmp_path: Path, wait: Wait, name: str, peers: tuple[str, ...], group: str, words: str
) -> None:
    waiting = wait(fw1)
    with pytest.raises(PeerError, match=words):
        join(Box(tmp_path / "odd", name, *peers, group=group, at="fw2"), waiting)
    waiting.tells(words)


def test_a_node_that_is_no_peer_there_is_told_on_both_sides(
    fw2: Box, tmp_path: Path, wait: Wait
) -> None:
    """fw1 knows its address, by another name."""
    waiting = wait(Box(tmp_path, "fw1", "fw2"))
    odd = Box(tmp_path, "fw3", "fw1", at="fw2")
    with pytest.raises(PeerError, match=r"it refuses: 'fw3' is no peer in node\.toml of fw1"):
        join(odd, waiting)
    waiting.tells("'fw3' is no peer in node.toml of fw1, which names: fw2")


def test_strangers_spend_no_guess(fw1: Box, fw2: Box, wait: Wait) -> None:
    waiting = wait(fw1)
    for _ in range(4):
        with connected(waiting, STRANGER) as sock:
            try:
                assert sock.recv(1) == b""
            except ConnectionResetError:
                pass
    assert waiting.told == [f"refused {STRANGER}: it is no address of a peer in node.toml"]
    for text in (b"GET / HTTP/1.0\r\n\r\n", b"\0" * 100_000, b""):
        with connected(waiting) as sock, contextlib.suppress(OSError):  # it may be gone at any word
            sock.sendall(text)
            sock.shutdown(socket.SHUT_WR)
            sock.recv(1)
    for text in (b"\xff" * 100, pr.build(pr.Done()), pr.LENGTH.pack(5) + b"{}{}{"):
        with bare(None, server=False).wrap_socket(connected(waiting)) as tls:
            with contextlib.suppress(OSError):
                tls.sendall(text)
                tls.recv(1)
    join(fw2, waiting)
    waiting.partner()
    assert any("message of 4294967295 bytes" in text for text in waiting.told)
    assert any("it said Done, expected Join" in text for text in waiting.told)
    assert any("no JSON" in text for text in waiting.told)


def test_who_says_nothing_is_not_waited_for(fw1: Box, fw2: Box, wait: Wait) -> None:
    waiting = wait(fw1)
    with connected(waiting) as silent:
        join(fw2, waiting)  # after CONVERSATION_MAX_S
        silent.close()
    waiting.partner()


class Between:
    """Somebody between the joiner and fw1, who alters one byte of the `at`th piece that passes."""

    def __init__(self, to: Waiting, at: int | None) -> None:
        self._server = socket.create_server(("127.0.0.4", to.port))
        self._server.settimeout(10)
        self._far = connected(to)
        self._left = at
        self.seen = bytearray()
        self._thread = threading.Thread(target=self._relay)
        self._thread.start()

    def _relay(self) -> None:
        near, _ = self._server.accept()
        sides = {near: self._far, self._far: near}
        while True:
            for sock in select.select(list(sides), [], [], 10)[0]:
                try:
                    data = sock.recv(65536)
                    self.seen += data
                    sides[sock].sendall(self._changed(data))
                except OSError:
                    data = b""
                if not data:
                    near.close()
                    self._far.close()
                    return

    def _changed(self, data: bytes) -> bytes:
        if self._left is None:
            return data
        self._left -= 1
        return data[:-1] + bytes((data[-1] ^ 1,)) if self._left == -1 else data

    def close(self) -> None:
        self._thread.join(20)
        self._server.close()


def test_who_sits_in_between_reads_no_secret_and_an_altered_byte_ends_it(
    fw1: Box, fw2: Box, wait: Wait
) -> None:
    waiting = wait(fw1)
    for at in range(3):  # the handshake of either, and what follows
        between = Between(waiting, at)
        with pytest.raises(PeerError):
            pairing.join(
                fw2.config,
                fw2.keys,
                ip_address("127.0.0.4"),
                waiting.code,
                port=waiting.port,
                replace=False,
            )
        between.close()
        assert (fw1.keys.names(), fw2.keys.names()) == ([], [])
    between = Between(waiting, None)
    partner = pairing.join(
        fw2.config,
        fw2.keys,
        ip_address("127.0.0.4"),
        waiting.code,
        port=waiting.port,
        replace=False,
    )
    between.close()
    assert partner.certificate == fw1.own
    assert waiting.partner().certificate == fw2.own
    assert not any("guesses left" in text for text in waiting.told)
    assert b"joiner" not in between.seen and b"edge" not in between.seen
    assert fw2.own not in between.seen and fw1.own not in between.seen


def test_guesses_of_strangers_count_and_tell_nothing(fw1: Box, fw2: Box, wait: Wait) -> None:
    waiting = wait(fw1)
    assert guess(waiting).endswith("guesses left: 2")
    join(fw2, waiting)
    waiting.partner()


def test_a_node_without_an_address_of_its_own_cannot_wait(fw1: Box) -> None:
    node = replace(fw1.config.node, addresses={})
    with pytest.raises(ConfigError, match="names no address of fw1 on a link with a peer"):
        pairing.own_addresses(replace(fw1.config, node=node))


def test_the_port_is_the_one_after_that_of_the_states(fw1: Box) -> None:
    assert pairing.port_of(fw1.config) == 3783
    other = replace(fw1.config.group, states=States("sync", port=65535))
    assert pairing.port_of(replace(fw1.config, group=other)) == 1
    assert pairing.port_of(replace(fw1.config, group=replace(other, states=None))) == 3783


def test_who_knows_the_code_sees_the_files_and_may_join_then(
    fw1: Box, fw2: Box, wait: Wait
) -> None:
    waiting = wait(fw1)
    assert (
        pairing.look(AT["fw1"], waiting.code, port=waiting.port, source=AT["fw2"]) == waiting.shown
    )
    assert fw1.keys.names() == []
    assert join(fw2, waiting).node == "fw1"
    assert waiting.partner().node == "fw2"


def test_who_guesses_sees_nothing_and_has_guessed(fw1: Box, wait: Wait) -> None:
    waiting = wait(fw1)
    wrong = Code(waiting.code.fingerprint, waiting.code.secret ^ 1)
    for left in (2, 1, 0):
        with pytest.raises(PeerError, match=f"guesses left: {left}"):
            pairing.look(AT["fw1"], wrong, port=waiting.port, source=AT["fw2"])
    assert isinstance(waiting.outcome(), CarpoolError)
