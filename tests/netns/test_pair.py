"""`carpool init`, `join`, `peers` and `unpair` as people type them, on three machines, and then the
states processes that live from it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from carpool.api import control
from carpool.errors import UnreachableError
from tests.netns.lab import Namespace, Network, wait_until

SYNC = {"fw1": "10.3.0.1", "fw2": "10.3.0.2", "fw3": "10.3.0.3"}
GROUP = """name = "test"
[[vip]]
interface = "lan"
vhid = 51
password = "secret"
addresses = ["10.1.0.1/24"]
[states]
interface = "sync"
"""
HEAD = 'name = "{name}"\n[interface]\nlan = "lan0"\nsync = "sync0"\n[address]\nsync = "{sync}"\n'


class Machine:
    """A node with its own files, in a namespace."""

    def __init__(self, namespace: Namespace, home: Path, name: str, peers: list[str]) -> None:
        self.namespace = namespace
        self.name = name
        self.home = home / name
        self.run_dir = self.home / "run"
        self.run_dir.mkdir(parents=True)
        peer_tables = (f'[peer.{peer}.address]\nsync = "{SYNC[peer]}"\n' for peer in peers)
        node = HEAD.format(name=name, sync=SYNC[name]) + "".join(peer_tables)
        (self.home / "node.toml").write_text(node)
        (self.home / "group.toml").write_text(GROUP)

    @property
    def command(self) -> list[str]:
        places = ("--config-dir", str(self.home), "--run-dir", str(self.run_dir))
        return [sys.executable, "-m", "carpool", *places]

    def carpool(self, *words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        return self.namespace.run(*self.command, *words, check=False, input_text=text)

    def peers(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.carpool("peers", "--json").stdout)
        return answer

    def start(self) -> None:
        self.namespace.start(*self.command, "run", "states")

    def streams(self) -> dict[str, bool]:
        """Which peers it replicates with."""
        path = control.socket_of(self.run_dir, control.STATES)
        try:
            answer: dict[str, Any] = control.request(path, {"command": "status"}, 5)
        except UnreachableError:
            return {}
        return {peer["name"]: peer["connected"] for peer in answer["peers"]}


@contextmanager
def waiting(machine: Machine, *options: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """`carpool init` on a machine, and the words of the command that it shows."""
    process = machine.namespace.start(*machine.command, "init", *options)
    assert process.stdout is not None
    shown: list[str] = []
    for line in process.stdout:
        if line.strip().startswith("carpool join"):
            shown = line.split()[1:]
        if line.startswith("waiting at"):
            break
    try:
        yield process, shown
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGINT)


@pytest.fixture
def machines(network: Network, tmp_path: Path) -> dict[str, Machine]:
    hosts = {name: network.host(name) for name in SYNC}
    network.bridge("sync", [(hosts[n], "sync0", [f"{SYNC[n]}/24"]) for n in SYNC])
    return {
        name: Machine(host, tmp_path, name, [peer for peer in SYNC if peer != name])
        for name, host in hosts.items()
    }


def test_three_nodes_are_paired_with_the_commands_and_replicate(
    machines: dict[str, Machine],
) -> None:
    fw1, fw2, fw3 = machines.values()
    for machine in machines.values():
        machine.start()  # before anybody is paired: nothing is to be restarted
    with waiting(fw1) as (init, words):
        assert words[:2] == ["join", SYNC["fw1"]]
        joined = fw2.carpool(*words)
        assert joined.returncode == 0, joined.stderr
        assert re.search(r"^made the identity of fw2: SHA-256 \w{16}\.\.\.$", joined.stdout, re.M)
        assert "paired with fw1: SHA-256 " in joined.stdout
        assert "not paired yet: fw3 (`carpool init` on fw2" in joined.stdout
        said, _ = init.communicate(timeout=30)
        assert init.returncode == 0
        assert "paired with fw2: SHA-256 " in said and "not paired yet: fw3" in said
    wait_until(lambda: fw1.streams().get("fw2"), 30, "fw1 and fw2 replicate")
    assert fw1.streams()["fw3"] is False
    for first in (fw1, fw2):
        with waiting(first) as (init, words):
            joined = fw3.carpool(*words[:2], "-", text=words[2] + "\n")  # not in `ps`
            assert joined.returncode == 0, joined.stderr
            said, _ = init.communicate(timeout=30)
            assert f"{first.name} is paired with all its peers" in said
    for machine in machines.values():
        wait_until(
            lambda machine=machine: list(machine.streams().values()) == [True, True],  # type: ignore[misc]
            30,
            f"{machine.name} replicates with both",
        )
    prints = {machine.name: machine.peers()["node"]["fingerprint"] for machine in machines.values()}
    assert len(set(prints.values())) == 3
    for machine in machines.values():
        for peer in machine.peers()["peers"]:
            assert peer["paired"] and peer["fingerprint"] == prints[peer["name"]]
    done = fw3.carpool("unpair", "fw1")
    assert done.returncode == 0
    wait_until(lambda: fw1.streams()["fw3"] is False, 20, "fw3 has dropped the stream")
    assert fw1.streams()["fw2"] and fw3.streams() == {"fw1": False, "fw2": True}


def test_a_wrong_code_a_typo_and_nobody(machines: dict[str, Machine]) -> None:
    fw1, fw2, fw3 = machines.values()
    with waiting(fw1, "--port", "4000") as (init, words):
        assert words[1:3] == ["--port", "4000"]
        typo = words[-1][:-1] + ("0" if words[-1][-1] != "0" else "1")
        done = fw2.carpool(*words[:-1], typo)
        assert done.returncode == 1 and "its last character does not fit" in done.stderr
        with waiting(fw3) as (other, others):
            done = fw2.carpool(*words[:-1], others[-1])
            assert done.returncode == 1
            assert "the node at 10.3.0.1 is not the one that made this code" in done.stderr
            os.kill(other.pid, signal.SIGINT)
            assert other.wait(30) == 130
        assert fw2.carpool(*words).returncode == 0  # no guess was spent
        assert init.wait(30) == 0
    done = fw2.carpool(*words)
    assert done.returncode == 1
    assert "nobody waits at 10.3.0.1 port 4000: Connection refused" in done.stderr
    assert "is `carpool init` running there?" in done.stderr


def test_a_code_expires(machines: dict[str, Machine]) -> None:
    done = machines["fw1"].carpool("init", "--timeout", "1")
    assert done.returncode == 1
    assert "nobody joined in 1 s: the code is void" in done.stderr
    assert "`carpool init` again" in done.stderr
