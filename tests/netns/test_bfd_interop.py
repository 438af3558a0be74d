"""BFD beside FRR's bfdd and BIRD, over a real link: up, cut, and the right word at the end.

FRR has no authentication, BIRD signs as we do (meticulous keyed SHA1). tshark judges our packets.
"""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from carpool.proto.bfd import SessionState
from tests.netns.bfdnode import BfdNode
from tests.netns.foreign import Bfdd, Bird
from tests.netns.lab import Namespace, Network, wait_until

OURS, THEIRS = ("10.1.1.2", "fd00::2"), ("10.1.1.3", "fd00::3")
SLACK_MS = 60.0  # a busy machine; what is measured is in docs/decisions/0079
EXPIRED = "control detection time expired"
SIGNALLED = "neighbour signalled session down"
FRR_SIGNALLED = "neighbor signaled session down"  # as FRR spells it
CUT_BOTH = """
table inet cut {
    chain in { type filter hook input priority 0; udp dport 3784 drop; }
    chain out { type filter hook output priority 0; udp dport 3784 drop; }
}
"""
CUT_OUT = "\n".join(line for line in CUT_BOTH.splitlines() if "chain in" not in line)
WHOLE = "delete table inet cut"


@pytest.fixture
def hosts(network: Network) -> tuple[Namespace, Namespace]:
    """A cable between two hosts, without duplicate address detection."""
    ours, other = network.host("ours"), network.host("other")
    network.veth(
        *(ours, "lan0", other, "lan0"),
        left_addresses=[f"{OURS[0]}/24", f"{OURS[1]}/64"],
        right_addresses=[f"{THEIRS[0]}/24", f"{THEIRS[1]}/64"],
    )
    return ours, other


def peers(interval_ms: int) -> list[str]:
    lines = []
    for own, peer in zip(THEIRS, OURS, strict=True):
        lines += [f"peer {peer} local-address {own}", "detect-multiplier 3"]
        lines += [f"receive-interval {interval_ms}", f"transmit-interval {interval_ms}", "!"]
    return lines


def says(bfdd: Bfdd, **wanted: object) -> None:
    """FRR shows this of all sessions, soon."""
    names = {name.replace("_", "-"): value for name, value in wanted.items()}

    def missing() -> list[object]:
        found = bfdd.show()
        shown = [{name: found[peer][name] for name in names} for peer in OURS if peer in found]
        return [one for one in shown if one != names] + [None] * (len(OURS) - len(shown))

    def told() -> bool:
        return not missing()

    try:
        wait_until(told, 5.0)
    except AssertionError as error:
        raise AssertionError(f"bfdd shows {missing()}, expected {names}") from error


def test_frr_at_50_ms_comes_up_is_cut_one_way_and_leaves(
    hosts: tuple[Namespace, Namespace], tmp_path: Path
) -> None:
    host, other = hosts
    capture = tmp_path / "bfd.pcap"
    dump = host.start(
        *("tcpdump", "-U", "--immediate-mode", "-i", "lan0", "-w", str(capture), "udp port 3784")
    )
    wait_until(capture.exists)
    bfdd = Bfdd(other, tmp_path / "frr", *peers(50))
    node = BfdNode(host, *THEIRS)
    node.comes_up()
    says(bfdd, status="up", remote_transmit_interval=50, remote_receive_interval=50)
    wait_until(
        lambda: (
            {
                (s["interval_ms"], s["detection_ms"], s["polling"])
                for s in node.status()["sessions"].values()
            }
            == {(50, 150, False)}
        )
    )

    # We hear nothing any more, and say so. FRR, while up, heeds no packet without its number,
    # which 6.8.1 makes us forget (bfd_recv_cb: "existing good sessions are not overridden"): it
    # hears nothing that counts, falls down by itself, and then shows what we said.
    for event in node.went_down(lambda: other.nft(CUT_OUT)):
        assert event["diag"] == EXPIRED
        assert 100 <= event["after_ms"] <= 150 + SLACK_MS
        assert 150 <= event["silent_ms"] <= 150 + SLACK_MS
    says(bfdd, diagnostic=EXPIRED, remote_diagnostic=EXPIRED)
    assert {one["word"] for one in node.status()["sessions"].values()} == {"gone"}
    other.nft(WHOLE)
    node.comes_up()
    says(bfdd, status="up")

    # We leave and come back.
    assert {e["diag"] for e in node.went_down(lambda: node.say("leave"))} == {
        "administratively down"
    }
    says(bfdd, status="down", diagnostic=FRR_SIGNALLED, remote_diagnostic="administratively down")
    node.say("back")
    node.comes_up()
    says(bfdd, status="up")

    # FRR leaves: that is no death.
    shut = [
        w
        for own, peer in zip(THEIRS, OURS, strict=True)
        for w in (f"peer {peer} local-address {own}", "shutdown", "exit")
    ]
    for event in node.went_down(lambda: bfdd.do("configure terminal", "bfd", *shut)):
        assert (event["diag"], event["remote_state"]) == (SIGNALLED, "AdminDown")
    assert {one["word"] for one in node.status()["sessions"].values()} <= {"left", "unknown"}
    assert set(node.status()["counters"]) == {"accepted", "admin_down"}

    dump.send_signal(signal.SIGTERM)
    dump.wait(timeout=10)
    judge(capture)


def judge(capture: Path) -> None:
    """tshark: nothing malformed, no expert note, hop limit 255, the ports of RFC 5881."""
    ours = f"ip.src == {OURS[0]} || ipv6.src == {OURS[1]}"
    argv = ["tshark", "-n", "-r", str(capture), "-Y", f"bfd && ({ours})", "-T", "json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True)
    packets: list[dict[str, Any]] = [one["_source"]["layers"] for one in json.loads(done.stdout)]
    assert {"ip", "ipv6"} <= {layer for packet in packets for layer in packet}
    for layers in packets:
        assert "_ws.malformed" not in layers and "_ws.expert" not in json.dumps(layers), layers
        hops = layers["ip"]["ip.ttl"] if "ip" in layers else layers["ipv6"]["ipv6.hlim"]
        udp = layers["udp"]
        assert (hops, udp["udp.dstport"]) == ("255", "3784")
        assert 49152 <= int(udp["udp.srcport"]) <= 65535
        assert layers["bfd"]["bfd.version"] == "1"
    states = {int(layers["bfd"]["bfd.sta"], 0) for layers in packets}
    assert {SessionState.ADMIN_DOWN, SessionState.DOWN, SessionState.UP} <= states


def test_frr_at_10_ms_comes_up_stays_and_notices_that_both_are_cut_off(
    hosts: tuple[Namespace, Namespace], tmp_path: Path
) -> None:
    host, other = hosts
    bfdd = Bfdd(other, tmp_path / "frr", *peers(10))
    node = BfdNode(host, *THEIRS, interval_ms=10)
    node.comes_up()
    says(bfdd, status="up", remote_transmit_interval=10)
    wait_until(lambda: {one["detection_ms"] for one in node.status()["sessions"].values()} == {30})
    for event in node.went_down(lambda: other.nft(CUT_BOTH)):
        assert event["diag"] == EXPIRED
        assert 20 <= event["after_ms"] <= 30 + SLACK_MS
    says(bfdd, status="down", diagnostic=EXPIRED)
    other.nft(WHOLE)
    node.comes_up()
    assert {e["diag"] for e in node.went_down(bfdd.child.kill)} == {EXPIRED}


def test_bird_signs_as_we_do(hosts: tuple[Namespace, Namespace], tmp_path: Path) -> None:
    """Meticulous keyed SHA1 of another maker: up, cut, up again, and no packet is refused."""
    host, other = hosts
    words = (
        'interface "lan0" { interval 50 ms; multiplier 3; authentication meticulous keyed sha1; '
        'password "open sesame" { id 77; }; }; '
    )
    words += "".join(
        f'neighbor {peer} dev "lan0" local {own}; ' for own, peer in zip(THEIRS, OURS, strict=True)
    )
    bird = Bird(other, tmp_path / "bird", words)
    key = (77, "open sesame")
    node = BfdNode(host, *THEIRS, sending=key, receiving=key)
    node.comes_up()
    wait_until(lambda: bird.states() == dict.fromkeys(OURS, "Up"), what="BIRD is up, too")
    assert {e["diag"] for e in node.went_down(lambda: other.nft(CUT_BOTH))} == {EXPIRED}
    wait_until(lambda: bird.states() == dict.fromkeys(OURS, "Down"), what="BIRD noticed, too")
    other.nft(WHOLE)
    node.comes_up()
    assert set(node.status()["counters"]) == {"accepted"}
