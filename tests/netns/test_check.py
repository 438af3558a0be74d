"""`carpool check`, `status` and `events` on real devices, with the real failover process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from carpool.errors import EXIT_CONFIG, EXIT_OK, EXIT_UNREACHABLE
from tests.netns.lab import Namespace, Network, wait_until
from tests.netns.node import CarpNode, running, vip
from tests.unit.api.files import GROUP, NODE, paired, write

ADDRESSES = {
    "lan0": ("10.10.1.2/24", "fd00:10::2/64"),
    "wan0": ("10.10.2.2/24",),
    "sync0": ("10.10.3.1/24",),
}


@pytest.fixture
def machine(network: Network) -> Namespace:
    """A node with the devices of the good files, each with a cable in it."""
    node, switch = network.host("node"), network.host("switch")
    for number, (device, addresses) in enumerate(ADDRESSES.items()):
        network.veth(switch, f"p{number}", node, device, right_addresses=addresses)
    return node


def check(machine: Namespace, directory: Path) -> subprocess.CompletedProcess[str]:
    (directory / "group.toml").chmod(0o600)
    command = (sys.executable, "-m", "carpool", "check", "--config-dir", str(directory))
    return machine.run(*command, check=False)


def test_a_good_configuration_on_a_good_machine(machine: Namespace, tmp_path: Path) -> None:
    done = check(machine, paired(write(tmp_path)))
    assert (done.returncode, done.stderr) == (EXIT_OK, "")
    assert done.stdout == (
        "configuration OK\n"
        "node fw1 of group edge with fw2; advskew 0, preempt\n"
        "VHIDs: 2, addresses: 4, on lan (lan0), wan (wan0); "
        "states of assured connections over sync\n"
    )


def test_what_does_harm_on_this_machine_is_refused(machine: Namespace, tmp_path: Path) -> None:
    node = NODE.replace("10.10.1.3", "10.10.1.2")  # the peer's address is ours
    group = GROUP.replace("10.10.2.11/24", "10.10.2.11/25").replace("10.10.2.1/24", "10.10.2.2/24")
    done = check(machine, write(tmp_path, node, group))
    assert done.returncode == EXIT_CONFIG
    assert [line for line in done.stdout.splitlines() if line.startswith("error")] == [
        f"error: {tmp_path}/node.toml:13: peer.fw2.address.lan",
        f"error: {tmp_path}/group.toml:15: vip[1].addresses[0]",
        f"error: {tmp_path}/group.toml:16: vip[1].addresses[1]",
    ]
    assert "found 10.10.1.2, which is this machine's own (on lan0)" in done.stdout
    assert "found 10.10.2.2, which wan0 has for its own" in done.stdout
    assert "found 10.10.2.11/25, expected the mask of wan0: 10.10.2.11/24" in done.stdout


def test_what_may_mend_itself_is_a_warning(machine: Namespace, tmp_path: Path) -> None:
    machine.sh("ip link set wan0 down; ip link del sync0; ip address del 10.10.1.2/24 dev lan0")
    done = check(machine, paired(write(tmp_path)))
    assert done.returncode == EXIT_OK
    found = [line.strip() for line in done.stdout.splitlines() if line.startswith("    found")]
    assert found == [
        'found "lan0", which has no IPv4 address of its own, expected one, '
        "to advertise the IPv4 VIPs from",
        'found "wan0", which is set down, expected a device that is up',
        'found no device "sync0", expected a device of this machine',
    ]


def test_a_vip_that_carpool_holds_is_nobodys_own(machine: Namespace, tmp_path: Path) -> None:
    node = CarpNode(machine, tmp_path, "fw1", 0)
    node.configure(vip(addresses=("10.10.1.1/24", "fd00:10::1/64")))
    files = tmp_path / "fw1"
    with running(node):
        node.becomes("MASTER")
        wait_until(lambda: node.owns("10.10.1.1"), 5, "the VIP is held")
        done = check(machine, files)
        assert done.returncode == EXIT_OK, done.stdout
        assert "configuration OK, 1 warning\n" in done.stdout  # a group of one

        status = node.carpool("status")
        assert status.returncode == EXIT_OK
        assert status.stdout.startswith("fw1: master of all 1 VHIDs")
        assert "MASTER  51@lan  lan0 " in status.stdout
        assert max(map(len, status.stdout.splitlines())) <= 80

    events = node.carpool("events")  # the process is gone, its file is not
    assert events.returncode == EXIT_UNREACHABLE
    assert "BACKUP -> MASTER" in events.stdout
    assert node.carpool("status").returncode == EXIT_UNREACHABLE
