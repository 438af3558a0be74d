"""A client uses the same port again for a new connection, and the firewalls change in between."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from carpool.lab import shell
from carpool.lab.lab import Lab
from carpool.lab.topology import FIREWALLS, SERVER_IPV4
from tests.netns.lab import wait_until
from tests.netns.labs import held_lab

pytestmark = pytest.mark.timeout(120)

PORT = 9300
SERVER = f"""
import socket
with socket.create_server(("{SERVER_IPV4}", {PORT})) as listener:
    print("ready", flush=True)
    while True:
        client, _ = listener.accept()
        while (data := client.recv(100)) not in (b"", b"close", b"reset"):
            client.sendall(data)
        if data == b"reset":  # RST in place of FIN
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0]) + bytes(4))
        client.close()  # the server closes first: the client's port is free at once
"""
CLIENT = f"""
import socket, sys
for line in sys.stdin:
    try:
        if line == "open\\n":
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.settimeout(5)
            client.bind(("", 40000))
            client.connect(("{SERVER_IPV4}", {PORT}))
        ending = line in ("close\\n", "reset\\n")
        client.sendall(line.strip().encode() if ending else b"hello")
        print(client.recv(100).decode() or "close", flush=True)
        if ending:
            client.close()
    except ConnectionResetError:
        print("reset", flush=True)
    except OSError as error:
        print(repr(error), flush=True)
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with held_lab() as made:
        yield made


class Host:
    """A program in a namespace that answers each line with a line."""

    def __init__(self, namespace: str, program: str) -> None:
        self._process = subprocess.Popen(
            shell.inside(namespace, [sys.executable, "-c", program]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def does(self, verb: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(verb + "\n")
        self._process.stdin.flush()
        return self.answer()


def tcp_state(lab: Lab, firewall: str) -> str:
    """The state of the connection in a firewall's table; empty without one."""
    argv = ["conntrack", "-L", "-p", "tcp", "--dport", str(PORT)]
    entry = shell.run(shell.inside(lab.network.namespace(firewall), argv)).split()
    return entry[3] if entry else ""


def bulks(lab: Lab, firewall: str) -> int:
    """How many whole tables a firewall has sent."""
    return int(lab.firewalls[firewall].ask("states", "status")["counters"].get("bulks", 0))


def hand_over(lab: Lab, firewall: str) -> None:
    lab.firewalls[firewall].ask("failover", "switchover")


@pytest.mark.parametrize(("ending", "state"), [("close", "TIME_WAIT"), ("reset", "CLOSE")])
def test_a_port_that_is_used_again_is_replicated_again(lab: Lab, ending: str, state: str) -> None:
    for firewall in FIREWALLS:  # the copies must still be there when the port is used again
        times = {f"net.netfilter.nf_conntrack_tcp_timeout_{state.lower()}": 60}
        shell.sysctl(lab.network.namespace(firewall), times)

    with (
        Host(lab.network.namespace("server"), SERVER) as server,
        Host(lab.network.namespace("client"), CLIENT) as client,
    ):
        assert server.answer() == "ready"
        assert client.does("open") == "hello"
        wait_until(lambda: tcp_state(lab, "fw2") == "ESTABLISHED")
        hand_over(lab, "fw1")
        assert client.does("again") == "hello"
        assert client.does(ending) == ending
        for firewall in FIREWALLS:
            wait_until(lambda firewall=firewall: tcp_state(lab, firewall) == state)  # type: ignore[misc]
        before = bulks(lab, "fw1")
        hand_over(lab, "fw2")
        wait_until(lambda: bulks(lab, "fw1") > before, what="a new master renews its copies")
        wait_until(lambda: lab.troubles() == [])
        assert client.does("open") == "hello"
        wait_until(lambda: tcp_state(lab, "fw2") == "ESTABLISHED", what="the new one on fw2")
        hand_over(lab, "fw1")
        assert client.does("again") == "hello"
