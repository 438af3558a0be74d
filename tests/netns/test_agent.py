"""`carpool run agent` between two firewalls: who gets in, who does not, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from carpool.agent.localclient import LocalClient
from carpool.api.identity import introduce, make
from carpool.kernel.tls import bare, pinning
from tests.netns.agents import GROUP, LINK, PORT, AgentNode, made_pair, start
from tests.netns.lab import Namespace, Network, wait_until
from tests.netns.pair import OUTSIDER, SYNC

WAIT_S = 20  # for what comes at once


@pytest.fixture
def nodes(network: Network, tmp_path: Path) -> tuple[AgentNode, AgentNode]:
    return made_pair(network, tmp_path)


@contextlib.contextmanager
def reaching(
    target: AgentNode, source: Namespace, address: str, context: ssl.SSLContext | None
) -> Iterator[socket.socket]:
    with source.entered():
        plain = socket.socket()
    plain.settimeout(WAIT_S)
    plain.bind((address, 0))
    # Wrapped before it connects: of one that was reset meanwhile, Python 3.11 loses the descriptor.
    with plain if context is None else context.wrap_socket(plain) as sock:
        sock.connect((SYNC[target.name], PORT))
        yield sock


def ask(sock: socket.socket, path: str) -> tuple[int, dict[str, Any]]:
    sock.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    answer = b""
    while part := sock.recv(65536):
        answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def test_paired_agents_know_each_other_and_a_peer_gets_nothing_but_its_own_routes(
    nodes: tuple[AgentNode, AgentNode],
) -> None:
    fw1, fw2 = nodes
    start(fw1, fw2)
    for node, other in ((fw1, fw2), (fw2, fw1)):
        (peer,) = node.about()["peers"]
        assert (peer["name"], peer["reachable"], peer["error"]) == (other.name, True, None)
        assert (peer["about"]["name"], peer["about"]["roles"]) == (other.name, None)
    context = pinning(fw2.keys.credentials("fw1"), server=False)
    for path, expected in (
        ("/v1/peer/about", 200),
        ("/v1/about", 403),
        ("/v1/status", 403),
        ("/v1/openapi.json", 403),
        ("/v1/peer/none", 404),
    ):
        with reaching(fw1, fw2.namespace, SYNC["fw2"], context) as sock:
            status, told = ask(sock, path)
            assert status == expected, told
    assert fw1.refused() == {"not_for_peers": 3}
    check_unpairing(fw1, fw2)
    said = fw1.stop()
    assert "runs, pid" in said
    assert said.count("refused fw2: GET '/v1/about' is not for peers") == 1
    (peer,) = fw2.about()["peers"]
    assert not peer["reachable"]
    assert "cannot connect to the agent of fw1" in peer["error"]


def check_unpairing(fw1: AgentNode, fw2: AgentNode) -> None:
    """It needs no restart, and ends what is open; the same for pairing."""
    context = pinning(fw2.keys.credentials("fw1"), server=False)
    with reaching(fw1, fw2.namespace, SYNC["fw2"], context) as sock:
        sock.sendall(b"GET /v1/peer/about HTTP/1.1\r\nhost: x\r\n\r\n")
        answer = b""
        while not answer.endswith(b"}"):
            answer += sock.recv(65536)
        assert fw1.keys.unpin("fw2")
        with contextlib.suppress(ConnectionError, ssl.SSLError):  # silence is a TimeoutError
            assert sock.recv(65536) == b""
    with pytest.raises(OSError), reaching(fw1, fw2.namespace, SYNC["fw2"], context):
        pass  # there is no handshake any more
    wait_until(lambda: fw1.refused().get("not_paired", 0) >= 2, 20, "both are counted")
    introduce({node.name: node.config_dir for node in (fw1, fw2)})
    with reaching(fw1, fw2.namespace, SYNC["fw2"], context) as sock:
        assert ask(sock, "/v1/peer/about")[0] == 200


def test_strangers_of_every_kind_are_refused_counted_and_told_once(
    nodes: tuple[AgentNode, AgentNode], network: Network
) -> None:
    fw1, fw2 = nodes
    start(fw1)
    fw2.keys.store_identity(make("fw2"))  # not what fw1 has pinned
    wrong = bare(fw2.keys.identity_path, server=False)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    anybody = bare(None, server=False)
    outsider = network.hosts["outsider"]
    kinds: tuple[tuple[str, Namespace, str, ssl.SSLContext | None], ...] = (
        ("not_tls", fw2.namespace, SYNC["fw2"], None),
        ("no_certificate", fw2.namespace, SYNC["fw2"], anybody),
        ("wrong_certificate", fw2.namespace, SYNC["fw2"], wrong),
        ("old_tls", fw2.namespace, SYNC["fw2"], old),
        ("stranger", outsider, OUTSIDER, wrong),
    )
    for _cause, source, address, context in kinds * 3:
        with contextlib.suppress(OSError), reaching(fw1, source, address, context) as sock:
            sock.sendall(b"GET /v1/peer/about HTTP/1.1\r\nhost: x\r\n\r\n")
            assert b"HTTP" not in sock.recv(1000)
    expected = {cause: 3 for cause, *_ in kinds}
    wait_until(lambda: fw1.refused() == expected, 20, f"{expected}")
    said = fw1.stop()
    for words in (
        f"refused who comes from {SYNC['fw2']} port",
        "what it says is no TLS",
        "it shows no certificate",
        "it shows another certificate (SHA-256 ",
        "it does not speak TLS 1.3",
        f"refused {OUTSIDER}: no peer in node.toml has this address",
    ):
        assert words in said
    assert len([line for line in said.splitlines() if "refused" in line]) == len(kinds)


def test_a_second_agent_is_refused_a_dead_ones_place_is_taken_and_half_a_request_delays_no_stop(
    nodes: tuple[AgentNode, AgentNode],
) -> None:
    fw1, _ = nodes
    fw1.configure(GROUP)  # without [sync] only this machine is served
    start(fw1)
    second = fw1.begin()
    assert "another process listens on" in second.communicate(timeout=20)[0]
    assert second.returncode == 1
    assert (fw1.about()["listens"], fw1.about()["peers"]) == ([], [])
    assert fw1.process is not None
    os.kill(fw1.process.pid, signal.SIGKILL)
    fw1.process.communicate(timeout=20)
    assert (fw1.run_dir / "agent.sock").exists()
    start(fw1)
    with socket.socket(socket.AF_UNIX) as slow:
        slow.connect(str(fw1.run_dir / "agent.sock"))
        slow.sendall(b"GET /v1/about HTTP/1.1\r\n")
        fw1.stop()
    assert not (fw1.run_dir / "agent.sock").exists()


def test_files_are_read_anew_on_command(nodes: tuple[AgentNode, AgentNode]) -> None:
    """Sections and the schedule; a file that cannot be used changes nothing."""
    node, _ = nodes
    start(node)
    with LocalClient(node.run_dir) as agent:

        def schedule() -> object:
            told = agent.get("/v1/schedule")["schedule"]
            return told["expression"] if isinstance(told, dict) else told

        assert schedule() is None
        more = (
            f'{LINK}sections = ["web"]\nschedule = "daily"\n[section.web]\npaths = ["/etc/web/"]\n'
        )
        node.configure(GROUP + more)
        agent.post("/v1/reload", {})
        assert schedule() == "daily"
        peers = agent.get("/v1/drift")["peers"]
        assert isinstance(peers, dict) and set(peers["fw2"]) == {"carpool", "web"}
        node.configure(GROUP + LINK + "schedule = 1\n")
        agent.post("/v1/reload", {})
        assert schedule() == "daily"
        node.configure(GROUP + LINK)
        agent.post("/v1/reload", {})
        assert schedule() is None
        node_file = node.config_dir / "node.toml"
        text = node_file.read_text()
        node_file.write_text(
            f'{text}[services]\ncommand = ["/bin/act", "{{action}}", "{{service}}"]\n'
        )
        for _again in range(2):  # it is so until the agent is started anew
            assert agent.post("/v1/reload", {}) == {"restart": ["[services] command"]}
        node_file.write_text(text)
        assert agent.post("/v1/reload", {}) == {"restart": []}
    assert "other [services] command: they count" in node.stop()
