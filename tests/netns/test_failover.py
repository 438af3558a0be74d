"""The failover process whole: two nodes and a neighbour on one switch."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from carpool.proto.carp import PROTOCOL
from tests.netns.lab import Namespace, Network, holds_for, wait_until
from tests.netns.node import CarpNode, running, vip
from tests.netns.wallclock import WallClock

# include/uapi/linux/if_packet.h, if_ether.h
SOL_PACKET, PACKET_IGNORE_OUTGOING, ETH_P_ALL = 263, 23, 0x0003
VIP4, VIP6 = "10.10.1.1", "fd00:10:1::1"
PEERS = {"fw1": {"lan": "10.10.1.2"}, "fw2": {"lan": "10.10.1.3"}}


@dataclass
class Pair:
    fw1: CarpNode
    fw2: CarpNode
    client: Namespace
    switch: Namespace

    def configure(self, *vips: str, preempt: bool = True) -> None:
        self.fw1.configure(*vips, peers={"fw2": PEERS["fw2"]}, preempt=preempt)
        self.fw2.configure(*vips, peers={"fw1": PEERS["fw1"]}, preempt=preempt)

    @contextlib.contextmanager
    def sent_by_fw1(self) -> Iterator[Callable[[], list[bytes]]]:
        """Of all that fw1 sends, what has come since one asked last."""
        with self.switch.entered():
            tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            tap.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            tap.bind(("p0", ETH_P_ALL))
        tap.setblocking(False)

        def read() -> list[bytes]:
            frames = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    frames.append(tap.recv(2048))
            return frames

        with tap:
            yield read

    def owners(self, address: str = VIP4) -> list[str]:
        return [node.name for node in (self.fw1, self.fw2) if node.owns(address)]


@pytest.fixture
def pair(network: Network, tmp_path: Path) -> Pair:
    one, two = network.host("fw1", forwarding=True), network.host("fw2", forwarding=True)
    client = network.host("client")
    ends = (
        (one, "lan0", ("10.10.1.2/24", "fd00:10:1::2/64")),
        (two, "lan0", ("10.10.1.3/24", "fd00:10:1::3/64")),
        (client, "eth0", ("10.10.1.10/24", "fd00:10:1::10/64")),
    )
    switch = network.bridge("switch", ends)
    pair = Pair(
        CarpNode(one, tmp_path, "fw1", 0), CarpNode(two, tmp_path, "fw2", 100), client, switch
    )
    pair.configure(vip(addresses=(f"{VIP4}/24", f"{VIP6}/64")))
    return pair


def test_better_node_is_master_and_answers_in_both_families(pair: Pair) -> None:
    with running(pair.fw1, pair.fw2):
        pair.fw1.becomes("MASTER")
        pair.fw2.becomes("BACKUP")
        assert pair.owners() == ["fw1"]
        wait_until(lambda: pair.client.pings(VIP4))
        wait_until(lambda: pair.client.pings(VIP6))
        assert pair.client.neighbour_mac(VIP4) == "00:00:5e:00:01:33"
        assert pair.client.neighbour_mac(VIP6) == "00:00:5e:00:01:33"
        wait_until(lambda: pair.fw2.status()["summary"] == "backup, hearing fw1")
        for node in (pair.fw1, pair.fw2):  # where a switch sends neighbours' questions for the VIP
            assert "ff02::1:ff00:1\n" in node.namespace.sh("ip maddress show dev lan0")


def test_stop_hands_over_at_once_and_leaves_nothing_behind(pair: Pair) -> None:
    before = pair.fw1.namespace.run("sysctl", "-a").stdout
    with running(pair.fw1, pair.fw2):
        pair.fw1.becomes("MASTER")
        pair.fw2.becomes("BACKUP")
        assert pair.fw1.stop() == 0
        assert pair.fw2.role == "MASTER"  # no waiting: it took over before the first let go
        assert pair.owners() == ["fw2"]
        links = pair.fw1.namespace.run("ip", "-br", "link").stdout
        assert "carp" not in links
        assert "carpool" not in pair.fw1.namespace.run("nft", "list", "ruleset").stdout
        after = pair.fw1.namespace.run("sysctl", "-a").stdout
        assert _settings(after) == _settings(before)


def _settings(shown: str) -> dict[str, str]:
    """The sysctls that a process could have set: those of lan0 and of all devices."""
    pairs = (line.split(" = ", 1) for line in shown.splitlines() if " = " in line)
    kept = (".lan0.", ".all.", ".default.")
    return {key: value for key, value in pairs if any(part in key for part in kept)}


def test_crash_of_both_processes_leaves_no_address_and_the_peer_takes_over(pair: Pair) -> None:
    with running(pair.fw1, pair.fw2):
        pair.fw1.becomes("MASTER")
        pair.fw2.becomes("BACKUP")
        pair.fw1.crash()
        wait_until(lambda: not pair.fw1.owns(VIP4), 20, "the kernel removes the dead node's VIP")
        pair.fw2.becomes("MASTER")
        assert pair.owners() == ["fw2"]


def test_killed_worker_hands_over_within_milliseconds_and_comes_back(pair: Pair) -> None:
    with running(pair.fw1, pair.fw2):
        pair.fw1.becomes("MASTER")
        pair.fw2.becomes("BACKUP")
        killed = pair.fw1.worker_pid()
        os.kill(killed, signal.SIGKILL)
        # Two seconds are far below the three of the CARP timer, which alone would need them.
        pair.fw2.becomes("MASTER", 2.0)
        pair.fw1.becomes("BACKUP", 2.0)
        assert pair.fw1.worker_pid() != killed
        wait_until(lambda: pair.owners() == ["fw2"], 1.0, "fw1 lets go, long before the kernel")
        reasons = [r["reason"] for r in pair.fw1.status()["demotion"]]
        assert reasons == ["recent crash"]


def test_killed_worker_without_a_peer_stays_master(pair: Pair) -> None:
    with running(pair.fw1):
        pair.fw1.becomes("MASTER")
        os.kill(pair.fw1.worker_pid(), signal.SIGKILL)
        holds_for(lambda: pair.fw1.owns(VIP4), 2.0, "the only node keeps the VIP")
        pair.fw1.becomes("MASTER")
        assert pair.fw1.status()["demotion"] == []


def test_killed_guard_makes_the_worker_leave(pair: Pair) -> None:
    with running(pair.fw1, pair.fw2):
        pair.fw1.becomes("MASTER")
        pair.fw2.becomes("BACKUP")
        assert pair.fw1.process is not None
        os.kill(pair.fw1.process.pid, signal.SIGKILL)
        pair.fw2.becomes("MASTER", 2.0)
        wait_until(lambda: pair.fw1.role == "down", 2.0, "the worker ends, too")
        wait_until(lambda: pair.owners() == ["fw2"], 1.0, "fw1 lets go, long before the kernel")
        pair.fw1.process.communicate(timeout=30)


@pytest.mark.parametrize("mac", ["virtual", "interface"])
def test_a_paused_master_is_replaced_and_says_nothing_as_master_when_it_wakes(
    pair: Pair, mac: str
) -> None:
    """Guard and worker stopped together; what fw1 sends is looked at on the switch."""
    pair.configure(vip(addresses=(f"{VIP4}/24", f"{VIP6}/64"), mac=mac))
    with running(pair.fw1, pair.fw2), pair.sent_by_fw1() as sent:
        pair.fw1.becomes("MASTER")
        pair.fw2.becomes("BACKUP")
        assert pair.fw1.process is not None
        stopped = (pair.fw1.process.pid, pair.fw1.worker_pid())
        wait_until(lambda: claims(sent()), what="the capture sees what a master sends")
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            pair.fw2.becomes("MASTER")
            wait_until(lambda: pair.owners() == ["fw2"], 20, "the kernel took the VIP from fw1")
            sent()
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        pair.fw1.becomes("BACKUP")
        holds_for(lambda: pair.fw1.role == "BACKUP", 1.5, "it does not compete at once")
        assert claims(sent()) == []
        told = pair.fw1.status()
        assert (told["counters"]["stalls"], told["demotion"][0]["reason"]) == (1, "recent stall")
        assert "stall" in [event["kind"] for event in pair.fw1.ask("events")["events"]]


def claims(frames: list[bytes], *, arp: bool = False) -> list[str]:
    """Those by which a master claims an address, in words; `arp`: those of ARP by that name."""
    mac, vip4, vip6 = bytes.fromhex("00005e000133"), IPv4Address(VIP4), IPv6Address(VIP6)
    found = []
    for frame in frames:
        kind, ip = frame[12:14], frame[14:]
        if frame[6:12] == mac and not (arp and kind == b"\x08\x06"):
            found.append(f"from the virtual MAC: {frame.hex()}")
        elif kind == b"\x08\x06" and ip[14:18] == vip4.packed:
            found.append(f"ARP: {frame.hex()}")
        elif kind == b"\x08\x00" and ip[9] == PROTOCOL:
            found.append(f"CARP: {frame.hex()}")
        elif kind == b"\x86\xdd" and ip[6] == PROTOCOL:
            found.append(f"CARP: {frame.hex()}")
        elif kind == b"\x86\xdd" and ip[6:7] == b"\x3a" and ip[40] == 136:
            found += [f"NA: {frame.hex()}"] if ip[48:64] == vip6.packed else []
    return found


@pytest.mark.long
def test_adverts_that_get_lost_one_way_are_told_as_a_split_brain_and_it_heals(pair: Pair) -> None:
    """A switch that forwards multicast of one port no more: both are master, and one knows."""
    with running(pair.fw1, pair.fw2):
        pair.fw1.becomes("MASTER")
        pair.fw2.becomes("BACKUP")
        pair.switch.nft(
            "table bridge snoop { chain forward { type filter hook forward priority 0;"
            " iifname p0 ether daddr 01:00:5e:00:00:12 drop;"
            " iifname p0 ether daddr 33:33:00:00:00:12 drop; }; }"
        )
        pair.fw2.becomes("MASTER")

        def troubles() -> list[str]:
            return [one["key"] for one in pair.fw1.status()["troubles"]]

        wait_until(lambda: troubles() == ["split brain 51@lan"], 10)
        assert pair.fw1.status()["counters"]["conflicts"] > 0
        with pair.sent_by_fw1() as sent:
            pair.switch.run("nft", "delete", "table", "bridge", "snoop")
            pair.fw2.becomes("BACKUP", 3.0)
            wait_until(lambda: any(one.startswith("ARP") for one in claims(sent(), arp=True)))
        wait_until(lambda: troubles() == [], 10)


def test_no_step_of_the_wall_clock_moves_anything(pair: Pair, tmp_path: Path) -> None:
    """Nor does it keep the goodbye of a killed worker from being heeded: as a replay it was."""
    clock = WallClock(tmp_path / "clock")
    pair.fw1.wrapper = clock.wrapper
    with running(pair.fw1, pair.fw2):
        pair.fw1.becomes("MASTER")
        pair.fw2.becomes("BACKUP")
        before = pair.fw1.transitions(), pair.fw2.transitions()
        for hours in (1, -1):
            clock.step(hours * 3600)
            holds_for(lambda: pair.fw2.role == "BACKUP", 1.2, "adverts go on")
        assert (pair.fw1.transitions(), pair.fw2.transitions()) == before
        os.kill(pair.fw1.worker_pid(), signal.SIGKILL)
        pair.fw2.becomes("MASTER", 2.0)
        wait_until(lambda: pair.owners() == ["fw2"], 1.0, "fw1 lets go")
        assert "replay" not in pair.fw2.status()["counters"]


def test_carrier_lost_and_device_deleted_and_back(pair: Pair) -> None:
    with running(pair.fw1, pair.fw2):
        pair.fw1.becomes("MASTER")
        pair.fw2.becomes("BACKUP")
        pair.switch.run("ip", "link", "set", "p0", "down")
        pair.fw1.becomes("INIT")
        pair.fw2.becomes("MASTER")
        pair.switch.run("ip", "link", "set", "p0", "up")
        pair.fw1.becomes("MASTER")
        pair.fw1.namespace.run("ip", "link", "del", "lan0")
        pair.fw1.becomes("INIT")
        pair.fw2.becomes("MASTER")
        pair.switch.run(
            *("ip", "link", "add", "p0", "type", "veth"),
            *("peer", "name", "lan0", "netns", pair.fw1.namespace.name),
        )
        pair.switch.run("ip", "link", "set", "p0", "master", "br0", "up")
        pair.fw1.namespace.run("ip", "address", "add", "10.10.1.2/24", "dev", "lan0")
        pair.fw1.namespace.run("ip", "link", "set", "lan0", "up")
        pair.fw1.becomes("MASTER")
        wait_until(lambda: pair.owners() == ["fw1"])
        wait_until(lambda: pair.client.pings(VIP4))


def test_operators_verbs_are_idempotent_and_say_so(pair: Pair) -> None:
    with running(pair.fw1, pair.fw2):
        pair.fw1.becomes("MASTER")
        pair.fw2.becomes("BACKUP")
        moved = pair.fw1.carpool("switchover")
        assert moved.returncode == 0 and "ms" in moved.stdout
        pair.fw2.becomes("MASTER", 2.0)
        again = pair.fw1.carpool("switchover")
        assert again.returncode == 0 and "nothing to give away" in again.stdout
        assert pair.fw2.carpool("switchover").returncode == 0
        pair.fw1.becomes("MASTER", 2.0)

        assert pair.fw1.carpool("maintenance", "on", "--reason", "new disk").returncode == 0
        pair.fw2.becomes("MASTER", 2.0)
        assert "already" in pair.fw1.carpool("maintenance", "on").stdout
        pair.fw1.stop()
        pair.fw1.start()
        pair.fw1.becomes("BACKUP")
        told = pair.fw1.status()
        assert told["maintenance"] is True
        assert {"reason": "maintenance", "weight": 240, "text": "new disk"} in told["demotion"]
        holds_for(lambda: pair.fw1.role == "BACKUP", 1.6, "maintenance persists over a restart")
        assert pair.fw1.carpool("maintenance", "off").returncode == 0
        pair.fw1.becomes("MASTER")

        assert pair.fw1.carpool("disable").returncode == 0
        pair.fw1.becomes("DISABLED")
        pair.fw2.becomes("MASTER", 2.0)
        assert "already" in pair.fw1.carpool("disable").stdout
        assert pair.fw1.carpool("enable").returncode == 0
        pair.fw1.becomes("MASTER")


def test_switchover_that_nobody_answers_is_taken_back(pair: Pair) -> None:
    with running(pair.fw1):
        pair.fw1.becomes("MASTER")
        refused = pair.fw1.carpool("switchover")
        assert refused.returncode != 0
        assert "nobody took over" in refused.stderr
        assert pair.fw1.role == "MASTER"
        assert pair.owners() == ["fw1"]


def test_users_rules_cannot_stop_carp_and_nothing_tracks_it(pair: Pair) -> None:
    for node in (pair.fw1, pair.fw2):
        node.namespace.nft(
            """
            table inet user {
              chain input { type filter hook input priority filter; policy drop;
                ct state established,related accept; icmp type echo-request accept; }
              chain output { type filter hook output priority filter; policy drop;
                ct state established,related accept; icmp type echo-reply accept; }
            }"""
        )
    with running(pair.fw1, pair.fw2):
        pair.fw1.becomes("MASTER")
        pair.fw2.becomes("BACKUP")
        holds_for(lambda: pair.fw2.role == "BACKUP", 4.0, "adverts get through")
        tracked = pair.fw2.namespace.run("conntrack", "-L").stdout
        assert "unknown  112" not in tracked and " 112 " not in tracked


@pytest.mark.parametrize("mac", ["virtual", "interface"])
@pytest.mark.parametrize("transport", ["multicast", "unicast"])
def test_all_modes_elect_and_hand_over(pair: Pair, mac: str, transport: str) -> None:
    pair.configure(vip(addresses=(f"{VIP4}/24",), mac=mac, transport=transport))
    with running(pair.fw1, pair.fw2):
        pair.fw1.becomes("MASTER")
        pair.fw2.becomes("BACKUP")
        wait_until(lambda: pair.client.pings(VIP4))
        pair.fw1.stop()
        pair.fw2.becomes("MASTER", 2.0)
        wait_until(lambda: pair.client.pings(VIP4))
        assert pair.owners() == ["fw2"]


def test_alias_added_on_one_node_is_told_as_exactly_that_and_splits_nothing(pair: Pair) -> None:
    pair.fw2.configure(
        vip(addresses=(f"{VIP4}/24", f"{VIP6}/64", "10.10.1.9/24")),
        peers={"fw1": PEERS["fw1"]},
    )
    with running(pair.fw1, pair.fw2):
        pair.fw1.becomes("MASTER")
        pair.fw2.becomes("BACKUP")
        holds_for(lambda: pair.fw2.role == "BACKUP", 4.0, "one master in spite of the mismatch")
        notes = [e["text"] for e in pair.fw2.ask("events")["events"] if e["kind"] == "mismatch"]
        assert len(notes) == 1
        assert "fw1 (10.10.1.2)" in notes[0] and "lacks 10.10.1.9/24" in notes[0]
