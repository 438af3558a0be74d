"""Bad days with real processes: what a node does, what it says, and how it comes back."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.netns.lab import Namespace, Network, holds_for, wait_until
from tests.netns.node import CarpNode, running, vip
from tests.netns.test_notify import Unit
from tests.netns.wallclock import WallClock

VIP = "10.10.1.1"
WAN_VIP = "10.10.2.1"


@dataclass
class Pair:
    fw1: CarpNode
    fw2: CarpNode
    switch: Namespace


@pytest.fixture
def pair(network: Network, tmp_path: Path) -> Pair:
    one, two = network.host("fw1", forwarding=True), network.host("fw2", forwarding=True)
    lan = network.bridge(
        "lan", [(one, "lan0", ("10.10.1.2/24",)), (two, "lan0", ("10.10.1.3/24",))]
    )
    network.bridge("wan", [(one, "wan0", ("10.10.2.2/24",)), (two, "wan0", ("10.10.2.3/24",))])
    fw1, fw2 = CarpNode(one, tmp_path, "fw1", 0), CarpNode(two, tmp_path, "fw2", 100)
    for node, peer, last in ((fw1, "fw2", 3), (fw2, "fw1", 2)):
        node.configure(
            vip(),
            vip("wan", 52, (f"{WAN_VIP}/24",)),
            peers={peer: {"lan": f"10.10.1.{last}", "wan": f"10.10.2.{last}"}},
            interfaces=("lan", "wan"),
        )
    return Pair(fw1, fw2, lan)


def troubles(node: CarpNode) -> dict[str, str]:
    """By key."""
    return {row["key"]: row["text"] for row in node.status()["troubles"]}


def group_file(node: CarpNode) -> Path:
    return node.directory / "group.toml"


@contextlib.contextmanager
def small(path: Path, megabytes: int = 1) -> Iterator[Path]:
    """A file system of so many MiB, mounted there."""
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)], check=True
    )
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(directory: Path) -> Path:
    """To the last byte."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return filler


# --------------------------------------------------------------------------- a broken group.toml


def test_a_master_whose_group_file_was_damaged_stays_the_gateway_over_a_restart(pair: Pair) -> None:
    text = group_file(pair.fw1).read_text()
    with running(pair.fw1, pair.fw2):
        pair.fw1.becomes("MASTER")
        pair.fw2.becomes("BACKUP")
        pair.fw1.stop()
        group_file(pair.fw1).write_text("")  # as after a power cut
        pair.fw1.start()
        pair.fw1.becomes("MASTER")
        pair.fw2.becomes("BACKUP")
        assert "group.toml: name: found nothing" in troubles(pair.fw1)["files"]
        shown = pair.fw1.carpool("status")
        assert shown.returncode == 0
        assert "this node goes by what counted before" in " ".join(shown.stdout.split())
        assert "group.toml: name" in pair.fw1.carpool("events").stdout
        refused = pair.fw1.carpool("apply")
        assert refused.returncode == 3  # EXIT_CONFIG; nothing was taken up

        group_file(pair.fw1).write_text(text)  # as it was: over by itself
        wait_until(lambda: not troubles(pair.fw1), 30, "the trouble is over")
        assert pair.fw1.role == "MASTER"


def test_another_group_file_than_before_is_taken_up_when_somebody_says_so(pair: Pair) -> None:
    text = group_file(pair.fw1).read_text()
    with running(pair.fw1):
        pair.fw1.becomes("MASTER")
        pair.fw1.stop()
        group_file(pair.fw1).write_text("name =")
        pair.fw1.start()
        pair.fw1.becomes("MASTER")
        group_file(pair.fw1).write_text(text.replace("10.10.1.1/24", "10.10.1.7/24"))
        wait_until(lambda: "another one" in troubles(pair.fw1)["files"], 30)
        assert pair.fw1.owns(VIP)
        assert pair.fw1.carpool("apply").returncode == 0
        wait_until(lambda: not troubles(pair.fw1) and pair.fw1.owns("10.10.1.7"), 30)
        assert not pair.fw1.owns(VIP)


def test_a_worker_that_dies_meanwhile_goes_by_the_same(pair: Pair) -> None:
    with running(pair.fw1):
        pair.fw1.becomes("MASTER")
        group_file(pair.fw1).unlink()
        pair.fw1.namespace.run("kill", "-KILL", str(pair.fw1.worker_pid()))
        wait_until(lambda: pair.fw1.role == "MASTER" and "files" in troubles(pair.fw1), 30)
        assert "group.toml: file: found no file" in troubles(pair.fw1)["files"]


@pytest.mark.parametrize("process", ["failover", "states", "agent"])
def test_who_never_had_a_configuration_waits_for_one(
    process: str, network: Network, tmp_path: Path
) -> None:
    firewall = network.host("fw1", forwarding=True)
    other = network.host("other")
    network.bridge("lan", [(firewall, "lan0", ["10.1.0.2/24"]), (other, "lan0", ["10.1.0.3/24"])])
    from tests.netns import test_notify

    (tmp_path / "node.toml").write_text(test_notify.NODE)
    (tmp_path / "group.toml").write_text("name = ")
    with contextlib.closing(Unit(firewall, tmp_path, process)) as unit:
        unit.hears("STATUS", f"TROUBLE: {process} waits for a configuration: group.toml")
        assert unit.has_told("READY", "1")  # nothing that boots waits for it
        unit.hears("WATCHDOG", "1")
        unit.told.clear()
        (tmp_path / "group.toml").write_text(test_notify.GROUP)
        unit.hears("READY", "1")
        about = {"failover": "VHIDs", "states": "streams", "agent": "listens"}
        unit.hears("STATUS", about[process])
        assert unit.process.poll() is None


# ----------------------------------------------------------------------------------- a full disk


def test_full_disks_keep_no_firewall_from_its_addresses(pair: Pair) -> None:
    """At a boot, and while it runs; what could not be written is written when there is room."""
    node = pair.fw1
    with small(node.directory / "state") as state, small(node.directory / "run") as run:
        fillers = [fill(state), fill(run)]
        with running(node):
            node.becomes("MASTER")
            assert node.owns(VIP)
            wait_until(lambda: len(troubles(node)) == 3, 30, "it tells what it could not write")
            assert set(troubles(node)) == {
                "disk what the next process goes by",
                "disk the event log",
                "disk how kernel settings were",
            }
            refused = node.ask("maintenance", on=True)
            assert (
                not refused["ok"] or (state / "maintenance").exists()
            )  # a file of no bytes may fit
            node.ask("maintenance", on=False)
            kept = [event["kind"] for event in node.ask("events", limit=1000)["events"]]
            assert "transition" in kept
            for filler in fillers:
                filler.unlink()
            wait_until(lambda: not troubles(node), 25, "it writes it when there is room")
            assert (state / "applied.json").stat().st_size
            assert (run / "sysctls.json").stat().st_size
            stored = (run / "failover.events").read_text()
            assert stored.count("BACKUP") >= 2  # what happened when there was none
        assert node.process is not None and node.process.returncode == 0
        with running(node):  # nothing half-written is in the way
            node.becomes("MASTER")
            assert not troubles(node)


# ---------------------------------------------------------------------------- a missing interface


def test_an_interface_that_is_missing_at_the_boot_and_comes_later(pair: Pair) -> None:
    pair.fw1.namespace.run("ip", "link", "set", "wan0", "down", "name", "eth9")
    with running(pair.fw2, pair.fw1):
        pair.fw2.becomes("MASTER")
        wait_until(lambda: "interface wan" in troubles(pair.fw1), 30)
        assert "wan: device wan0 is gone: " in troubles(pair.fw1)["interface wan"]
        wait_until(lambda: "fw2 is the gateway" in troubles(pair.fw1)["interface wan"], 30)
        # The group is whole: the other link is not taken by the better node alone.
        assert pair.fw2.owns(VIP) and pair.fw2.owns(WAN_VIP) and not pair.fw1.owns(VIP)
        pair.fw1.namespace.sh(
            "ip link set eth9 name wan0 && ip link set wan0 up &&"
            " (ip address add 10.10.2.2/24 dev wan0 || true)"
        )
        pair.fw1.becomes("MASTER", 15)
        assert not troubles(pair.fw1)


def test_a_device_that_is_renamed_or_dies_under_the_only_node(pair: Pair) -> None:
    """Half a gateway is what there is then: the other link stays."""
    with running(pair.fw1):
        pair.fw1.becomes("MASTER")
        pair.fw1.namespace.run("ip", "link", "delete", "wan0")
        wait_until(lambda: "interface wan" in troubles(pair.fw1), 30)
        assert "this node is the gateway still" in troubles(pair.fw1)["interface wan"]
        assert pair.fw1.owns(VIP)
        shown = " ".join(pair.fw1.carpool("status").stdout.split())
        assert "Trouble wan: device wan0 is gone" in shown


# --------------------------------------------------------------------- a clock that stands in 1970


@pytest.mark.timeout(150)  # a worker that crashed stays behind for half a minute
def test_a_clock_in_1970_that_leaps_moves_no_address(pair: Pair, tmp_path: Path) -> None:
    clock = WallClock(tmp_path / "clock")
    clock.stand_in_1970()
    pair.fw1.wrapper = clock.wrapper
    with running(pair.fw2, pair.fw1):
        pair.fw1.becomes("MASTER")  # by its advskew: a low counter is no old packet
        pair.fw2.becomes("BACKUP")
        first = pair.fw1.ask("events", limit=1000)["events"][0]
        assert first["time"].startswith("1970-01-01")
        before = pair.fw1.transitions(), pair.fw2.transitions()
        group = group_file(pair.fw1)
        group.write_text(group.read_text().replace("10.10.1.1/24", "10.10.1.7/24"))
        assert pair.fw1.carpool("apply", "--confirm-within", "60s", "--force").returncode == 0

        clock.right()  # by 56 years: what waits for a minute still does
        pair.fw1.ask("maintenance", on=False)
        holds_for(lambda: pair.fw1.owns("10.10.1.7"), 4.0, "it waits to be confirmed")
        left_s = pair.fw1.status()["change"]["confirm_left_s"]
        assert 0 < left_s < 60
        assert (pair.fw1.transitions(), pair.fw2.transitions()) == before
        assert pair.fw1.ask("take_back")["ok"]

        clock.stand_in_1970()  # and back: a worker that is replaced begins with a lower counter
        pair.fw1.namespace.run("kill", "-KILL", str(pair.fw1.worker_pid()))
        wait_until(lambda: {pair.fw1.role, pair.fw2.role} == {"MASTER", "BACKUP"}, 15)
        pair.fw1.becomes("MASTER", 60)
        pair.fw2.becomes("BACKUP")
