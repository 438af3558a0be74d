"""Helpers and expectations between two real nodes: FTP through NAT, over a failover.

The helper of the kernel reads the control connection, translates the addresses and ports that are
agreed there, and lets the data connections through; the firewall's rules let in nothing else.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from carpool.kernel.conntrack import Dump
from carpool.proto import ctmessage as ct
from carpool.proto.ctfields import EXP_GET
from tests.netns.lab import Namespace, Network, wait_until
from tests.netns.pair import (
    CLIENT,
    GROUP,
    SERVER,
    SERVER6,
    WAN_VIP,
    Pair,
    StatesNode,
    arrives,
    packed,
)

# Only the control connection is let through by a rule; its data is "related".
RULES = f"""
table inet helpers {{
  ct helper ftp {{ type "ftp" protocol tcp; l3proto inet; }}
  chain prerouting {{ type filter hook prerouting priority filter;
    ct state new tcp dport 21 ct helper set "ftp"
  }}
}}
flush chain inet filter forward
table inet filter {{
  chain forward {{
    ct state invalid counter drop
    ct state established,related accept
    ct state new tcp dport {{ 21, 80 }} ct mark set 0x2a accept
  }}
}}
table ip nat {{
  chain prerouting {{
    ip daddr {WAN_VIP} tcp dport 21 dnat to {CLIENT}
  }}
}}
"""


@pytest.fixture
def pair(network: Network, tmp_path: Path) -> Iterator[Pair]:
    made = Pair(network, tmp_path)
    for node in made.nodes:
        node.namespace.nft(RULES)
    made.start()
    yield made
    made.close()


class Ftp:
    """A control connection (RFC 959), and both of its ends: each line is said and answered here."""

    def __init__(self, near: Namespace, far: Namespace, to: str) -> None:
        self.near, self.far = near, far
        self.family = socket.AF_INET6 if ":" in to else socket.AF_INET
        with far.entered():
            listener = socket.create_server(("", 21), family=self.family)
        with listener:
            listener.settimeout(10)
            with near.entered():
                self.client = socket.socket(self.family, socket.SOCK_STREAM)
            self.client.settimeout(10)
            self.client.connect((to, 21))
            self.server, _name = listener.accept()
        self.server.settimeout(10)
        self._say(self.server, self.client, "220 ready")
        self.asks("USER anonymous", "230 logged in")

    def asks(self, command: str, answer: str) -> tuple[str, str]:
        """What the server heard, and what the client heard."""
        heard = self._say(self.client, self.server, command)
        return heard, self._say(self.server, self.client, answer)

    def asks_active(self) -> tuple[socket.socket, tuple[str, int]]:
        """PORT or EPRT: where the client listens, and where the server was told to connect to."""
        listener = self._listen(self.near)
        host, port = self.client.getsockname()[0], listener.getsockname()[1]
        if self.family == socket.AF_INET6:
            heard, _ = self.asks(f"EPRT |2|{host}|{port}|", "200 well")
            _, _, address, told, _ = heard.split("|")
            return listener, (address, int(told))
        heard, _ = self.asks(f"PORT {_numbers(host, port)}", "200 well")
        return listener, _address(heard)

    def asks_passive(self) -> tuple[socket.socket, tuple[str, int]]:
        """PASV: where the server listens, and where the client was told to connect to."""
        listener = self._listen(self.far)
        host, port = self.server.getsockname()[0], listener.getsockname()[1]
        _, heard = self.asks("PASV", f"227 Entering Passive Mode ({_numbers(host, port)})")
        return listener, _address(heard)

    def close(self) -> None:
        self.client.close()
        self.server.close()

    def _listen(self, host: Namespace) -> socket.socket:
        with host.entered():
            listener = socket.create_server(("", 0), family=self.family)
        listener.settimeout(10)
        return listener

    @staticmethod
    def _say(speaker: socket.socket, hearer: socket.socket, line: str) -> str:
        speaker.sendall(f"{line}\r\n".encode())
        heard = b""
        while not heard.endswith(b"\r\n"):
            heard += hearer.recv(200)
        return heard.decode().strip()


def _numbers(host: str, port: int) -> str:
    return ",".join([*host.split("."), str(port >> 8), str(port & 255)])


def _address(line: str) -> tuple[str, int]:
    numbers = re.findall(r"\d+", line)[-6:]
    return ".".join(numbers[:4]), int(numbers[4]) << 8 | int(numbers[5])


@contextlib.contextmanager
def ftp(near: Namespace, far: Namespace, to: str) -> Iterator[Ftp]:
    made = Ftp(near, far, to)
    try:
        yield made
    finally:
        made.close()


def transfers(host: Namespace, listener: socket.socket, to: tuple[str, int]) -> bytes:
    """Data over a connection from `host` to where it was told, in both directions."""
    with listener, host.entered(), socket.create_connection(to, timeout=10) as opened:
        accepted, _name = listener.accept()
        with accepted:
            accepted.settimeout(10)
            opened.sendall(b"data")
            accepted.sendall(accepted.recv(100)[::-1])
            return opened.recv(100)


def expectations(node: StatesNode) -> list[bytes]:
    """The tuples that this kernel waits for."""
    with node.namespace.entered():
        dump = Dump(what=EXP_GET)
    found: list[bytes] = []
    while (piece := dump.read()) is not None:
        for message in piece:
            names = ct.fields(message)
            assert names is not None
            parts = ("tuple", "mask", "master", "nat", "function")
            found.append(
                b"".join(message[ct.attribute(names[name])] for name in parts if name in names)
            )
    dump.close()
    return sorted(found)


def has_helper(node: StatesNode) -> ct.Entry:
    entry = arrives(node, 6, 21)
    assert entry.helper == "ftp", entry
    return entry


@pytest.mark.parametrize("passive", [False, True], ids=["active", "passive"])
def test_a_control_connection_opens_data_after_the_failover(pair: Pair, passive: bool) -> None:
    """The client is behind source NAT (active), the server behind destination NAT (passive): in
    both the helper must translate what is said."""
    client, server = (pair.server, pair.client) if passive else (pair.client, pair.server)
    with ftp(client, server, WAN_VIP if passive else SERVER) as control:
        has_helper(pair.fw2)
        pair.fail_over()
        for _ in range(2):
            listener, told = control.asks_passive() if passive else control.asks_active()
            assert told[0] == WAN_VIP
            assert transfers(client if passive else server, listener, told) == b"atad"


@pytest.mark.parametrize("passive", [False, True], ids=["active", "passive"])
def test_data_that_was_agreed_before_the_failover_comes_after_it(pair: Pair, passive: bool) -> None:
    client, server = (pair.server, pair.client) if passive else (pair.client, pair.server)
    with ftp(client, server, WAN_VIP if passive else SERVER) as control:
        listener, told = control.asks_passive() if passive else control.asks_active()
        here = expectations(pair.fw1)
        assert len(here) == 1
        wait_until(lambda: expectations(pair.fw2) == here, 5, "expected on fw2 too")
        pair.fail_over()
        assert transfers(client if passive else server, listener, told) == b"atad"
        # The lengths of what was said had changed: sequence numbers are moved on as before.
        control.asks("NOOP", "200 still here")
        moved = [entry for entry in pair.fw2.entries() if any(entry.numbers)]
        assert [entry.orig.dport for entry in moved] == [21]
        listener, told = control.asks_passive() if passive else control.asks_active()
        assert transfers(client if passive else server, listener, told) == b"atad"


def test_ftp_goes_on_over_two_failovers_and_in_ipv6(pair: Pair) -> None:
    with (
        ftp(pair.client, pair.server, SERVER) as control,
        ftp(pair.client, pair.server, SERVER6) as control6,
    ):
        has_helper(pair.fw2)
        for _ in range(2):
            for one in (control, control6):
                listener, told = one.asks_active()
                assert transfers(pair.server, listener, told) == b"atad"
            sent = pair.fw1.peer_status()["sent"]
            assert sent
            pair.fail_over()
            assert pair.fw1.failover is not None and pair.fw2.failover is not None
            pair.fw1.failover.be(False)
            pair.fw2.failover.be(True)
            pair.fw1, pair.fw2 = pair.fw2, pair.fw1
            # The new master tells all, and with that what the helper must know.
            wait_until(lambda: pair.fw1.counter("bulks") >= 2, 10, "the table is renewed")
            pair.synchronised()


def test_an_expectation_is_told_in_a_table_and_ends_with_its_original(pair: Pair) -> None:
    with ftp(pair.client, pair.server, SERVER) as control:
        has_helper(pair.fw2)
        pair.fw2.stop()
        listener, told = control.asks_active()
        here = expectations(pair.fw1)
        assert len(here) == 1 and expectations(pair.fw2) == []
        pair.fw2.start()
        pair.synchronised()
        assert expectations(pair.fw2) == here
        with listener, pair.server.entered(), socket.create_connection(told, timeout=10):
            wait_until(lambda: expectations(pair.fw2) == [], 5, "fulfilled on fw2 too")
            # And the data connection is known as a child of its control connection.
            child = arrives(pair.fw2, 6, told[1])
            control_entry = has_helper(pair.fw2)
            assert child.master == control_entry.orig
            assert child.status & ct.EXPECTED and child.orig.src == packed(SERVER)
    for node in pair.nodes:
        assert node.peer_status()["errors"] == 0


@pytest.mark.parametrize("excluded", ["{{port = 21}}", '{{mark = "0x2a"}}'], ids=["port", "mark"])
def test_what_an_excluded_connection_expects_stays_with_it(pair: Pair, excluded: str) -> None:
    for node in pair.nodes:
        assert node.stop() == 0
        node.configure(group=f"{GROUP}exclude = [{excluded}]\n")
    for node in pair.nodes:
        node.start()
    pair.synchronised()
    with ftp(pair.client, pair.server, SERVER) as control:
        listener, _told = control.asks_active()
        listener.close()
        assert len(expectations(pair.fw1)) == 1
        wait_until(lambda: pair.fw1.counter("skipped_excluded"), 5, "its master was judged")
        pair.fw2.stop()  # and a whole table does not tell it either
        assert "expectation" not in pair.fw2.output
        pair.fw2.start()
        pair.synchronised()
        assert expectations(pair.fw2) == []
        assert pair.fw2.counter("expectations_refused") == 0
        assert pair.fw1.peer_status()["sent"] == 0
