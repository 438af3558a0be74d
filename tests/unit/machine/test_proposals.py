from __future__ import annotations

from ipaddress import ip_address

import pytest

from carpool.machine import proposals
from carpool.model.facts import Device, Heard
from tests.unit.model.configs import config, ips, masked


def device(name: str, *addresses: str, gateway: str = "") -> Device:
    ways = ips(gateway) if gateway else ()
    return Device(name, True, True, masked(*addresses), ways, bool(gateway))


LAN = device("eth0", "10.10.1.2/24", "fd00:10::2/64", "fe80::2/64")
WAN = device("eth1", "192.0.2.2/24", gateway="192.0.2.1")
SYNC = device("eth2", "10.10.3.1/30")


def heard(name: str, number: int, kind: str = "VRRP") -> Heard:
    return Heard(name, ip_address("10.10.1.9"), "02:00:00:00:00:01", kind, number)


def test_the_default_route_is_the_wan_and_a_small_network_the_link() -> None:
    every = [WAN, LAN, SYNC, device("eth3"), Device("eth4", addresses=masked("10.4.0.1/24"))]
    assert proposals.sync_device(every) == "eth2"
    assert proposals.roles(every, "eth2") == {"lan": "eth0", "wan": "eth1"}
    more = [WAN, LAN, SYNC, device("eth5", "10.5.0.1/24")]
    assert proposals.roles(more, "eth2") == {"lan": "eth0", "lan2": "eth5", "wan": "eth1"}


def test_a_device_that_is_called_by_its_network_keeps_the_name() -> None:
    every = [device("lan0", "10.1.0.2/24"), device("dmz1", "10.2.0.2/24")]
    every.append(device("wan0", "10.3.0.2/24"))
    assert proposals.roles(every, "") == {"lan": "lan0", "dmz": "dmz1", "wan": "wan0"}


def test_a_link_is_known_by_its_name_or_is_what_is_left_over() -> None:
    named = device("pfsync0", "10.9.0.1/24")
    assert proposals.sync_device([SYNC, named]) == "pfsync0"
    assert proposals.sync_device([LAN, WAN, device("eth7", "10.9.0.1/24")]) == "eth7"
    assert proposals.sync_device([LAN]) == ""


def test_a_vip_is_free_and_has_the_mask_that_the_device_has() -> None:
    assert proposals.vips(LAN, ()) == [*masked("10.10.1.1/24", "fd00:10::1/64")]
    taken = ips("10.10.1.1")
    assert proposals.vips(LAN, taken)[0] == masked("10.10.1.4/24")[0], ".3 is left for the peer"
    assert proposals.vips(WAN, ()) == [*masked("192.0.2.4/24")], "the gateway is no VIP"
    assert proposals.vips(device("e", "10.0.0.1/31"), ips("10.0.0.0")) == []


def test_a_vhid_is_one_that_nobody_is_heard_with() -> None:
    wire = [heard("eth0", 51), heard("eth0", 52, "CARP"), heard("eth1", 53), heard("eth0", 0)]
    assert proposals.vhid("eth0", wire, ()) == 53
    assert proposals.vhid("eth0", wire, (53,)) == 54
    assert proposals.vhid("eth1", [heard("eth1", 51, "probe")], ()) == 51
    full = [heard("eth0", number) for number in range(1, 256)]
    assert proposals.vhid("eth0", full, ()) == 0
    assert proposals.used_vhids("eth0", wire)[52] == "CARP of 10.10.1.9"


@pytest.mark.parametrize(
    ("name", "other"),
    [("fw1", "fw2"), ("fw2", "fw1"), ("fw-3", "fw-4"), ("gw-a", "gw-b"), ("b", "a"), ("vm", "")],
)
def test_the_other_node_is_called_by_the_next_number(name: str, other: str) -> None:
    assert proposals.peer_name(name) == other


def test_the_other_node_is_beside_us() -> None:
    assert proposals.peer_candidates(SYNC) == [*ips("10.10.3.2")]
    assert proposals.peer_candidates(LAN)[:2] == [*ips("10.10.1.1", "10.10.1.3")]


def test_the_second_node_finds_its_devices_by_the_networks_of_the_first() -> None:
    here = [
        device("a", "10.10.2.7/24"),
        device("b", "10.10.3.2/24"),
        device("c", "10.10.1.7/24"),
    ]
    theirs = config()
    assert proposals.mapping(theirs, here) == {"lan": "c", "wan": "a", "sync": "b"}
    assert proposals.own_name(theirs, here, "vm") == "fw2"
    assert proposals.own_name(theirs, [LAN], "vm") == "vm"


def test_pairs_are_read_as_they_are_spelled() -> None:
    pairs = {"lan": "eth0", "wan": "eth1.100"}
    assert proposals.pairs_in(proposals.spelled(pairs)) == pairs
    assert proposals.pairs_in("lan=eth0, wan=eth1") == {"lan": "eth0", "wan": "eth1"}
    for wrong in ("lan", "lan=", "=eth0", "lan=eth0 lan=eth1"):
        assert proposals.pairs_in(wrong) is None
