"""Other implementations: Debian's ucarp as a peer, and tshark as a judge of our packets."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.netns.lab import Namespace, Network, holds_for, wait_until
from tests.netns.node import CarpNode, running, vip

VIP4, VIP6 = "10.10.1.1", "fd00:10:1::1"
GOODBYE = bytes((0x21, 51, 255))  # version and type, VHID, advskew


@dataclass
class Mixed:
    """A carpool node and a host for ucarp, on a switch."""

    carpool: CarpNode
    other: Namespace
    switch: Namespace
    scripts: Path

    def start_ucarp(self, advskew: int) -> None:
        for name, verb in (("up", "add"), ("down", "del")):
            script = self.scripts / name
            script.write_text(f'#!/bin/sh\nexec ip address {verb} {VIP4}/32 dev "$1"\n')
            script.chmod(0o755)
        self.other.start(
            *("ucarp", "-i", "lan0", "-s", "10.10.1.3", "-v", "51", "-p", "secret", "-a", VIP4),
            *("-b", "1", "-k", str(advskew), "-P", "-n"),
            *("-u", str(self.scripts / "up"), "-d", str(self.scripts / "down")),
        )

    def kill_ucarp(self) -> None:
        self.other.children[-1].send_signal(signal.SIGKILL)
        self.other.run("ip", "address", "del", f"{VIP4}/32", "dev", "lan0", check=False)

    def ucarp_owns(self) -> bool:
        return VIP4 in self.other.run("ip", "-4", "address", "show", "dev", "lan0").stdout


@pytest.fixture
def mixed(network: Network, tmp_path: Path) -> Mixed:
    ours, other = network.host("ours"), network.host("ucarp")
    switch = network.bridge(
        "switch", ((ours, "lan0", ("10.10.1.2/24",)), (other, "lan0", ("10.10.1.3/24",)))
    )
    node = CarpNode(ours, tmp_path, "fw1", 50)
    node.configure(vip(addresses=(f"{VIP4}/24",)), peers={"fw2": {"lan": "10.10.1.3"}})
    return Mixed(node, other, switch, tmp_path)


def test_better_carpool_is_elected_and_ucarp_takes_over_when_it_stops(mixed: Mixed) -> None:
    with running(mixed.carpool):
        mixed.carpool.becomes("MASTER")
        mixed.start_ucarp(advskew=200)
        holds_for(lambda: mixed.carpool.role == "MASTER", 5.0, "the slower ucarp stays backup")
        assert not mixed.ucarp_owns()
        mixed.carpool.stop()
        wait_until(mixed.ucarp_owns, 4.0, "ucarp heeds our goodbye, not only its timer")


def test_better_ucarp_is_elected_and_carpool_takes_over_when_it_dies(mixed: Mixed) -> None:
    with running(mixed.carpool):
        mixed.carpool.becomes("MASTER")
        mixed.start_ucarp(advskew=0)
        wait_until(mixed.ucarp_owns, 20, "ucarp preempts")
        mixed.carpool.becomes("BACKUP")
        holds_for(lambda: mixed.carpool.role == "BACKUP", 4.0, "we stay backup")
        assert mixed.carpool.status()["summary"] == "backup, hearing fw2"
        mixed.kill_ucarp()
        mixed.carpool.becomes("MASTER")


def test_carpool_preempts_a_slower_ucarp_that_was_there_first(mixed: Mixed) -> None:
    mixed.start_ucarp(advskew=200)
    wait_until(mixed.ucarp_owns, 20)
    with running(mixed.carpool):
        mixed.carpool.becomes("MASTER")
        wait_until(lambda: not mixed.ucarp_owns(), 20, "ucarp yields")
        assert mixed.carpool.status()["counters"].get("bad_auth", 0) == 0
        assert mixed.carpool.status()["counters"].get("replay", 0) == 0


def test_carpool_yields_to_a_better_ucarp_that_was_there_first(mixed: Mixed) -> None:
    mixed.start_ucarp(advskew=0)
    wait_until(mixed.ucarp_owns, 20)
    with running(mixed.carpool):
        mixed.carpool.becomes("BACKUP")
        holds_for(lambda: mixed.carpool.role == "BACKUP", 5.0, "random counters are no replays")
        assert mixed.carpool.status()["counters"].get("replay", 0) == 0


def test_tshark_decodes_our_packets_without_a_complaint(mixed: Mixed, tmp_path: Path) -> None:
    """IPv4 and IPv6, the goodbye included: right checksum, no expert note, nothing malformed."""
    mixed.carpool.configure(vip(addresses=(f"{VIP4}/24", f"{VIP6}/64")))
    capture = tmp_path / "adverts.pcap"
    sniffer = mixed.other.start(
        *(
            "tcpdump",
            "-i",
            "lan0",
            "-U",
            "--immediate-mode",
            "-w",
            str(capture),
            "ip proto 112 or ip6 proto 112",
        )
    )
    wait_until(capture.exists, 10, "tcpdump listens")
    with running(mixed.carpool):
        mixed.carpool.becomes("MASTER")
        wait_until(lambda: capture.stat().st_size > 600, 20, "some adverts were captured")
    wait_until(lambda: GOODBYE in capture.read_bytes(), what="the goodbye was captured")
    sniffer.send_signal(signal.SIGINT)
    sniffer.communicate(timeout=30)
    shown = mixed.other.run(
        *("tshark", "-r", str(capture), "-d", "ip.proto==112,carp", "-o", "ip.check_checksum:TRUE"),
        *("-T", "json"),
    ).stdout
    packets = [packet["_source"]["layers"] for packet in json.loads(shown)]
    assert {"ip", "ipv6"} <= {layer for packet in packets for layer in packet}
    for layers in packets:
        carp = layers["carp"]
        assert carp["carp.checksum.status"] == "1", carp  # 1: good
        assert '"carp.version": "2"' in json.dumps(carp) and '"carp.type": "1"' in json.dumps(carp)
        assert "_ws.expert" not in json.dumps(layers) and "_ws.malformed" not in layers
        assert layers["eth"]["eth.src"] == "00:00:5e:00:01:33"
        if "ip" in layers:
            ip = layers["ip"]
            assert (ip["ip.ttl"], ip["ip.dst"], ip["ip.checksum.status"]) == (
                "255",
                "224.0.0.18",
                "1",
            )
            assert layers["eth"]["eth.dst"] == "01:00:5e:00:00:12"
        else:
            ipv6 = layers["ipv6"]
            assert (ipv6["ipv6.hlim"], ipv6["ipv6.dst"]) == ("255", "ff02::12")
            assert ipv6["ipv6.src"].startswith("fe80:")
            assert layers["eth"]["eth.dst"] == "33:33:00:00:00:12"
    assert any(layers["carp"]["carp.advskew"] == "255" for layers in packets)
