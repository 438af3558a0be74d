"""What is to be equal on two nodes and is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from carpool.machine.pairchecks import CHECKS
from carpool.model.diagnosis import Diagnosis, Setting, Severity
from carpool.model.facts import InterfaceFacts, PeerFacts
from tests.unit.machine.facts import FACTS, NODE_FACTS, UNSEEN, facts, found, skipped
from tests.unit.model.configs import NODE, config, masked

THERE = {
    "lan": InterfaceFacts("eth0", True, True, True, 1500, masked("10.10.1.3/24", "fe80::3/64")),
    "wan": InterfaceFacts("eth1", True, True, True, 1500, masked("10.10.2.3/24")),
    "sync": InterfaceFacts("eth2", True, True, True, 1500, masked("10.10.3.2/24")),
}
PEER = PeerFacts(replace(NODE_FACTS, interfaces=THERE))
BY_NAME = {check.name: check.judge for check in CHECKS}


def told(check: str, peer: PeerFacts, **changes: Any) -> list[Diagnosis]:
    return found(BY_NAME[check], facts(peers={"fw2": peer}, **changes))


def other(interface: str, **changes: Any) -> PeerFacts:
    """The peer with another interface."""
    changed = {**THERE, interface: replace(THERE[interface], **changes)}
    return replace(PEER, node=replace(PEER.node, interfaces=changed))


@pytest.mark.parametrize("check", BY_NAME)
def test_two_equal_nodes_and_silent_ones(check: str) -> None:
    assert told(check, PEER) == []
    assert skipped(BY_NAME[check], facts(peers={"fw2": UNSEEN})) == ["nobody has looked"]
    alone = config(node=replace(NODE, peers=()))
    assert skipped(BY_NAME[check], facts(config=alone)) == ["node.toml names no peer"]
    assert skipped(BY_NAME[check], facts(config=UNSEEN)) == ["nobody has looked"]


def test_versions() -> None:
    older = replace(PEER, node=replace(PEER.node, version="0.9"))
    (one,) = told("versions", older)
    assert one.found == "fw2 runs carpool 0.9, this node 1.0"


@pytest.mark.parametrize(
    ("off_s", "error_s", "words"),
    [
        (90.0, 0.1, "the clock of fw2 is 90.0 s ahead of this node's"),
        (-5.0, 0.0, "the clock of fw2 is 5.0 s behind this node's"),
        (0.9, 0.0, ""),
        (3.0, 2.5, ""),  # it may be the time that asking took
    ],
)
def test_clocks(off_s: float, error_s: float, words: str) -> None:
    ill = told("clock", replace(PEER, clock_off_s=off_s, clock_error_s=error_s))
    assert [one.found for one in ill] == ([words] if words else [])


def test_interfaces_that_are_needed() -> None:
    without = {name: one for name, one in THERE.items() if name != "wan"}
    cases = {
        "fw2: its node.toml names no interface wan": replace(
            PEER, node=replace(PEER.node, interfaces=without)
        ),
        "fw2: lan is to be eth0, and there is no such device": other("lan", present=False),
        "fw2: sync (eth2) is set down": other("sync", up=False),
        "fw2: lan (eth0) has no carrier": other("lan", carrier=False),
    }
    for words, peer in cases.items():
        (one,) = told("peer-interfaces", peer)
        assert (one.found, one.severity) == (words, Severity.ERROR)


@pytest.mark.parametrize(
    ("addresses", "ill"),
    [
        (("10.10.1.3/25",), True),
        (("10.10.1.3/16", "fe80::3/64"), True),
        (("10.10.1.3/16", "10.10.1.4/24"), False),  # one of them fits
        (("10.99.1.3/24",), False),  # `carpool check` tells
        ((), False),
    ],
)
def test_masks(addresses: tuple[str, ...], ill: bool) -> None:
    assert bool(told("masks", other("lan", addresses=masked(*addresses)))) is ill


def test_the_mtu_is_lowered_where_it_is_larger() -> None:
    (one,) = told("mtu", other("sync", mtu=9000))
    assert one.found == "sync: MTU 1500 here, 9000 on fw2"
    assert "on fw2 `ip link set eth2 mtu 1500`" in one.fix
    (one,) = told("mtu", other("sync", mtu=1400))
    assert "here `ip link set sync0 mtu 1400`" in one.fix


@pytest.mark.parametrize(
    ("own", "there", "fix"),
    [
        (100, 200, "here: sysctl net/netfilter/nf_conntrack_max=200"),
        (100, 401, "here: sysctl net/netfilter/nf_conntrack_max=401"),
        (200, 100, "on fw2: sysctl net/netfilter/nf_conntrack_max=200"),
        (100, 0, "here: sysctl net/netfilter/nf_conntrack_max=0"),
        (0, 100, "on fw2: sysctl net/netfilter/nf_conntrack_max=0"),
    ],
)
def test_connection_tables_of_unequal_size(own: int, there: int, fix: str) -> None:
    peer = replace(PEER, node=replace(PEER.node, conntrack_max=there))
    (one,) = told("conntrack-max", peer, node=replace(NODE_FACTS, conntrack_max=own))
    assert one.fix == fix
    expected = (Setting("net/netfilter/nf_conntrack_max", there),) if there == 2 * own else ()
    assert one.settings == expected, "this node's own is safe to raise, if not by much"


def test_two_masters() -> None:
    peer = replace(PEER, roles={"51@lan": "MASTER", "52@wan": "MASTER"})
    (one,) = told("two-masters", peer, roles={"51@lan": "BACKUP", "52@wan": "MASTER"})
    assert "both MASTER of 52@wan" in one.found
    assert not told("two-masters", peer, roles={"51@lan": "BACKUP"})
    assert not told("two-masters", PEER, roles={"51@lan": "MASTER"})
    assert not found(BY_NAME["two-masters"], FACTS)
