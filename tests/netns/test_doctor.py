"""`carpool doctor`, with each fault made for real; and a node without any."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from carpool.errors import EXIT_CONFIG, EXIT_OK
from tests.netns.lab import Namespace, Network
from tests.unit.api.files import paired, write

ADDRESSES = {
    "lan0": ("10.10.1.2/24", "fd00:10::2/64"),
    "wan0": ("10.10.2.2/24",),
    "sync0": ("10.10.3.1/24",),
}
LOCAL = ("configuration", "forwarding", "rp-filter", "arp", "conntrack-events")


@pytest.fixture
def machine(network: Network) -> Namespace:
    """A node with the devices of the good files, each with a cable in it."""
    node, switch = network.host("node", forwarding=True), network.host("switch")
    for number, (device, addresses) in enumerate(ADDRESSES.items()):
        network.veth(switch, f"p{number}", node, device, right_addresses=addresses)
    return node


def doctor(
    machine: Namespace, directory: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    (directory / "group.toml").chmod(0o600)
    options = ("--config-dir", str(directory), "--run-dir", str(directory / "run"))
    return machine.run(
        *(sys.executable, "-m", "carpool", "doctor", *options),
        *("--root", str(directory / "root"), *arguments),
        check=False,
    )


def told(machine: Namespace, directory: Path, *arguments: str) -> dict[str, Any]:
    done = doctor(machine, directory, "--json", *arguments)
    assert done.stderr == ""
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def names(answer: dict[str, Any]) -> list[str]:
    return [one["check"] for one in answer["findings"]]


def test_settings_of_the_kernel(machine: Namespace, tmp_path: Path) -> None:
    files = paired(write(tmp_path))
    well = told(machine, files, *LOCAL)
    assert (well["ok"], well["findings"], well["skipped"]) == (True, [], [])

    machine.sysctl("net/ipv4/conf/lan0/rp_filter", 1)
    machine.sysctl("net/ipv4/conf/all/proxy_arp", 1)
    machine.sysctl("net/netfilter/nf_conntrack_events", 0)
    machine.sysctl("net/ipv4/ip_forward", 0)
    machine.run("ip", "link", "set", "wan0", "down")
    done = doctor(machine, files, "--fix", *LOCAL)
    assert done.returncode == EXIT_CONFIG, "one of them is not safe to mend"
    heads = [line for line in done.stdout.splitlines() if line.startswith(("error", "warn"))]
    assert heads == [
        "error: arp",
        "error: conntrack-events",
        "warning: configuration",
        "warning: forwarding",
        "warning: rp-filter",
    ]
    file = tmp_path / "root/etc/sysctl.d/90-carpool.conf"
    assert f"--fix: net/ipv4/conf/lan0/rp_filter: 1 -> 2, and in {file}" in done.stdout
    assert done.stdout.endswith("2 findings put right. 1 error and 2 warnings in 5 checks.\n")
    assert machine.read_sysctl("net/ipv4/conf/lan0/rp_filter") == "2"
    machine.sysctl("net/ipv4/conf/lan0/rp_filter", 1)
    machine.run("sysctl", "-q", "-p", str(file))  # as the next boot does
    machine.sh("sysctl -q net/ipv4/conf/all/proxy_arp=0 net/ipv4/ip_forward=1; ip link set wan0 up")
    again = doctor(machine, files, "rp-filter", "arp", "conntrack-events", "forwarding")
    assert (again.returncode, again.stdout) == (
        EXIT_OK,
        "All is well, as far as 4 checks can tell.\n",
    )
