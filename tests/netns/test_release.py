"""`carpool release`: what a failover process leaves that dies with its guard."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.netns.lab import Network, wait_until
from tests.netns.node import CarpNode, running, vip

VIP, ON_DEVICE = "10.10.1.1", "10.10.1.8"
RELEASE = """
import sys
from carpool import daemon
from carpool.cli import release
from carpool.cli.main import main
from carpool.kernel import leftover
print("loaded", flush=True)
input()
sys.exit(main(["release", "failover"]))
"""
OURS = {"fw1": "10.10.1.2", "fw2": "10.10.1.3"}


@pytest.fixture
def nodes(network: Network, tmp_path: Path) -> list[CarpNode]:
    hosts = {name: network.host(name, forwarding=True) for name in OURS}
    network.bridge("lan", [(host, "lan0", [f"{OURS[name]}/24"]) for name, host in hosts.items()])
    made = [CarpNode(host, tmp_path, name, 100 * n) for n, (name, host) in enumerate(hosts.items())]
    for node in made:
        peers = {name: {"lan": address} for name, address in OURS.items() if name != node.name}
        node.configure(
            vip(addresses=(f"{VIP}/24",)),
            vip(vhid=52, addresses=(f"{ON_DEVICE}/24",), mac="interface"),
            peers=peers,
        )
    return made


def kernel(node: CarpNode) -> str:
    """All that carpool may change there, as text."""
    show = "ip -br address; ip -br link; nft list ruleset; cat /proc/sys/net/ipv4/conf/lan0/arp_*"
    return node.namespace.sh(show)


def loaded(node: CarpNode) -> subprocess.Popen[str]:
    """`carpool release failover`, which begins when it reads a line: the addresses of the dead last
    three seconds, and Python may take two of them to start."""
    made = node.namespace.start(sys.executable, "-c", RELEASE, env=node.environment)
    assert made.stdout is not None
    assert made.stdout.readline() == "loaded\n"
    return made


def die(node: CarpNode) -> None:
    """Guard and worker at once: neither says goodbye."""
    assert node.process is not None
    worker = node.worker_pid()
    os.kill(worker, signal.SIGSTOP)
    os.kill(node.process.pid, signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    node.process.communicate(timeout=30)


def test_a_peer_takes_over_at_once_and_the_kernel_is_as_it_was(nodes: list[CarpNode]) -> None:
    fw1, fw2 = nodes
    before = kernel(fw1)
    with running(fw1, fw2):
        fw1.becomes("MASTER")
        fw2.becomes("BACKUP")
        release = loaded(fw1)
        die(fw1)
        said, _ = release.communicate("now\n", timeout=30)
        assert release.returncode == 0, said
        assert fw2.role == "MASTER"  # told so: by silence it would take three seconds
        assert f"taken away: address {VIP} on carp51-" in said
        assert f"taken away: address {ON_DEVICE} on lan0" in said
    assert kernel(fw1) == before
    assert fw1.carpool("release").stdout == (
        "nothing is left of failover\nnothing is left of states\n"
    )


def test_what_a_process_holds_that_runs_is_left_alone(nodes: list[CarpNode]) -> None:
    fw1, _ = nodes
    with running(fw1):
        fw1.becomes("MASTER")
        die(fw1)
        fw1.start()  # before systemd came to it
        fw1.becomes("MASTER")
        done = fw1.carpool("release", "failover")
        assert (done.returncode, done.stdout) == (0, "failover runs: what it holds is its own\n")
        assert fw1.owns(VIP) and fw1.role == "MASTER"


def test_without_a_usable_configuration_it_is_taken_away_all_the_same(
    nodes: list[CarpNode],
) -> None:
    fw1, _ = nodes
    before = kernel(fw1)
    with running(fw1):
        fw1.becomes("MASTER")
        die(fw1)
        (fw1.directory / "group.toml").write_text("no = [")
        (fw1.directory / "state" / "applied.json").unlink()
        done = fw1.carpool("release")
    assert done.returncode == 0, done.stderr
    assert "no peer is told" in done.stdout
    assert not fw1.owns(VIP)
    assert kernel(fw1) == before


def test_the_table_of_a_states_process(nodes: list[CarpNode]) -> None:
    fw1, _ = nodes
    fw1.namespace.nft("table inet carpool_states { }\ntable inet other { }")
    assert "taken away: table inet carpool_states" in fw1.carpool("release", "states").stdout
    wait_until(lambda: fw1.namespace.sh("nft list tables") == "table inet other\n")
