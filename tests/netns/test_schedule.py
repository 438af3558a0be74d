"""A schedule as an operator sees it: two agents, `carpool status`, `carpool metrics`."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from carpool.agent.localclient import LocalClient
from carpool.cli.main import main
from tests.netns.agents import GROUP, LINK, AgentNode, made_pair, start
from tests.netns.lab import Network, wait_until

pytestmark = pytest.mark.root

SCHEDULE = """sections = ["web"]
schedule = "*:*:*"

[section.web]
paths = ["/etc/web.conf"]
"""
FAILED = 'carpool_sync_schedule_state{state="failed"} 1 '


class Master(socketserver.StreamRequestHandler):
    """A failover process that is MASTER of everything."""

    def handle(self) -> None:
        self.rfile.readline()
        vhost = {"vhid": 51, "interface": "lan", "state": "MASTER"}
        self.wfile.write(json.dumps({"ok": True, "vhosts": [vhost]}).encode() + b"\n")


@contextmanager
def master(node: AgentNode) -> Iterator[None]:
    node.run_dir.mkdir(exist_ok=True)
    path = str(node.run_dir / "failover.sock")
    with socketserver.ThreadingUnixStreamServer(path, Master) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


class Terminal:
    """What the command line of a node prints, without its line breaks."""

    def __init__(self, printed: pytest.CaptureFixture[str]) -> None:
        self._printed = printed

    def __call__(self, node: AgentNode, word: str) -> str:
        self._printed.readouterr()
        places = ["--config-dir", str(node.config_dir), "--run-dir", str(node.run_dir)]
        main([word, *places])
        return " ".join(self._printed.readouterr().out.split())


def state(node: AgentNode) -> object:
    with LocalClient(node.run_dir) as agent:
        found = agent.get("/v1/schedule")["schedule"]
    assert isinstance(found, dict)
    return found["state"]


def test_a_schedule_is_kept_and_what_fails_is_told(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    carpool = Terminal(capsys)
    fw1, fw2 = made_pair(network, tmp_path)
    for node in (fw1, fw2):
        node.configure(GROUP + LINK + SCHEDULE)
    ours, theirs = (node.directory / "etc/web.conf" for node in (fw1, fw2))
    ours.write_text("1\n")
    with master(fw1):
        start(fw1)
        wait_until(lambda: state(fw1) == "failed", 15, "a run without a peer is told")
        told = carpool(fw1, "status").partition("Schedule: *:*:*, next ")[2]
        assert "fw2" in told.partition("; failed ")[2]
        assert FAILED in carpool(fw1, "metrics")
        start(fw2)
        wait_until(theirs.exists, 15, "the peer has it")
        wait_until(lambda: state(fw1) == "ok", 15, "no failure any more")
        assert "; succeeded " in carpool(fw1, "status").partition("Schedule: *:*:*, next ")[2]
        assert theirs.read_text() == "1\n"
        told = carpool(fw1, "metrics")
        assert FAILED not in told and "carpool_sync_schedule_last_success_timestamp_seconds" in told
        assert state(fw2) == "none", "no primary"
        fw1.stop()
        found = json.loads((fw1.state_dir / "sync/schedule.json").read_text())
        assert found["schedule"] == "*:*:*" and found["success_s"]
