"""Values of one node that would break another."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

import pytest

from carpool.machine.preflight import (
    absent_devices,
    bound_addresses,
    foreign_addresses,
    foreign_devices,
)
from carpool.model.config import Group, Node, Vip

PATH = "/etc/service.conf"
BOTH = "fw1", "fw2"
FOREIGN = {ip_address("10.0.0.1"): "node.address.lan", ip_address("fd00::1"): "node.address.lan.1"}
SENDER = Node(
    "fw1",
    {"lan": "eth0", "sync": "enp3s0"},
    addresses={
        "lan": tuple(ip_address(text) for text in ("10.0.0.1", "fd00::1", "10.0.0.254")),
        "sync": (ip_address("10.9.9.9"),),
    },
)
GROUP = Group("edge", (Vip("lan", 1, b"x", (ip_interface("10.0.0.254/24"),)),))


@pytest.mark.parametrize(
    "line",
    [
        "listen-address=10.0.0.1",
        "listen-address=127.0.0.1,10.0.0.1",
        "listen 10.0.0.1:443 ssl;",
        "bind 10.0.0.1#53 # a comment",
        'server "10.0.0.1"',
        "interface: 10.0.0.1@53",
        "ip address 10.0.0.1/24",
        "pool 10.0.0.1-10.0.0.9",
        "udp:10.0.0.1:53",
        "we are at 10.0.0.1.",
        "url = http://10.0.0.1/",
        "x { 10.0.0.1; };",
        "\xa0bind 10.0.0.1",
        "bind [fd00::1]:53",
        "bind FD00:0:0::0001",
        "bind fd00:0:0:0:0:0:0:1/64",
        "bind fd00::1%eth0",
        "bind fd00::0.0.0.1",
    ],
)
def test_an_address_of_this_node_is_found(line: str) -> None:
    (found,) = bound_addresses(PATH, f"first\n{line}\n".encode(), FOREIGN, *BOTH)
    assert (found.path, found.line) == (PATH, 2)
    assert found.why == "an address of fw1, which fw2 does not have"
    assert ip_address(found.what) in FOREIGN
    assert f"{{{{ {FOREIGN[ip_address(found.what)]} }}}}" in found.hint


@pytest.mark.parametrize(
    "line",
    [
        "10.0.0.10",
        "110.0.0.1",
        "10.0.0.1.2",
        "1.0.0.10.in-addr.arpa",
        "ip-10.0.0.1",
        "host_10.0.0.1",
        "v10.0.0.1",
        "10.0.0.1.example.org",
        "fd00::1:1",
        "fd00::10",
        "2001:fd00::1",
        "::ffff:10.0.0.1",
        "# bind 10.0.0.1",
        "  ; bind 10.0.0.1",
        "// bind 10.0.0.1",
        "bind any # not 10.0.0.1",
        "listen { any; }; // not 10.0.0.1",
    ],
)
def test_what_is_no_such_address_is_not_found(line: str) -> None:
    assert bound_addresses(PATH, line.encode(), FOREIGN, *BOTH) == []


def test_lines_are_numbered_where_most_of_them_say_nothing() -> None:
    rest = b"listen 127.0.0.1\nat 12:30:45\n\n" * 1000
    text = rest + b"bind fd00::1\nbind 10.0.0.1\n" + rest + b"bind 10.0.0.1 and fd00:0::1"
    found = [(one.line, one.what) for one in bound_addresses(PATH, text, FOREIGN, *BOTH)]
    ends = [(6003, "10.0.0.1"), (6003, "fd00::1")]
    assert found == [(3001, "fd00::1"), (3002, "10.0.0.1"), *ends]


def test_a_binary_file_holds_no_addresses() -> None:
    assert bound_addresses(PATH, b"\0 10.0.0.1", FOREIGN, *BOTH) == []


def test_how_likely_it_is_that_a_service_takes_it_for_its_own() -> None:
    bound, listed = bound_addresses(PATH, b"Listen 10.0.0.1\n10.0.0.1 fw1\n", FOREIGN, *BOTH)
    assert bound.likely
    assert not listed.likely


def test_an_address_twice_in_a_line_is_told_once() -> None:
    assert len(bound_addresses(PATH, b"10.0.0.1 10.0.0.1 fd00::1", FOREIGN, *BOTH)) == 2


def test_vips_and_what_the_receiver_has_too_are_not_foreign() -> None:
    found = foreign_addresses(SENDER, [ip_address("10.9.9.9")], GROUP)
    assert found == FOREIGN
    assert foreign_addresses(SENDER, [], GROUP)[ip_address("10.9.9.9")] == "node.address.sync"


def test_a_device_that_the_receiver_lacks_is_found_as_a_word() -> None:
    foreign = foreign_devices(SENDER, {"enp3s0", "lo"})
    assert foreign == {"eth0": "node.device.lan"}
    text = b'iifname "eth0" accept\nip link set eth0:1\nx=/sys/class/net/eth0/\ndev eth0.\n'
    assert [found.line for found in absent_devices(PATH, text, foreign, *BOTH)] == [1, 2, 3, 4]
    others = b"eth00 eth0.100 eth0-x xeth0 veth0 vlan.eth0 eth0@if3\n# eth0\n"
    assert absent_devices(PATH, others, foreign, *BOTH) == []


@pytest.mark.parametrize(
    ("line", "likely"),
    [
        ('iifname "eth0" accept', True),
        ("oifname { lo, eth0 } drop", True),
        ("iif eth0 accept", True),
        ("oif != eth0 accept", True),
        ("up ip route add default dev eth0", True),
        ("-A INPUT -i eth0 -j ACCEPT", True),
        ("net.ipv4.conf.eth0.rp_filter = 1", True),
        ("net/ipv6/conf/eth0/accept_ra = 0", True),
        ("net.ipv6.neigh.eth0.mcast_solicit=1", True),
        ("define links = { eth0, lo }", False),
        ("# iifname eth0", None),
        ("net.ipv4.conf.eth0/20.rp_filter = 1", None),  # of eth0.20
        ("net.ipv4.conf.eth00.rp_filter = 1", None),
        ("net.ipv4.conf.all.eth0.x = 1", None),
    ],
)
def test_where_a_device_is_taken(line: str, likely: bool | None) -> None:
    found = absent_devices(PATH, f"{line}\n".encode(), {"eth0": "node.device.lan"}, *BOTH)
    assert [one.likely for one in found] == ([] if likely is None else [likely])


def test_a_kernel_setting_of_a_vlan_is_found() -> None:
    foreign = {"eth1.20": "node.device.b", "eth1": "node.device.a"}
    text = b"net.ipv4.conf.eth1/20.rp_filter = 1\n"
    assert [one.what for one in absent_devices(PATH, text, foreign, *BOTH)] == ["eth1.20"]


def test_an_address_in_a_rule_may_be_meant_whatever_device_is_named_there() -> None:
    (found,) = bound_addresses(PATH, b'iifname "lan0" ip daddr 10.0.0.1 drop', FOREIGN, *BOTH)
    assert not found.likely


def test_a_device_whose_name_begins_another_is_not_taken_for_it() -> None:
    foreign = {"eth1": "node.device.a", "eth1.20": "node.device.b"}
    (found,) = absent_devices(PATH, b"interface eth1.20", foreign, *BOTH)
    assert found.what == "eth1.20"
    assert found.likely
    assert "{{ node.device.b }}" in str(found)


def test_nothing_foreign_is_nothing_found() -> None:
    assert bound_addresses(PATH, b"10.0.0.1", {}, *BOTH) == []
    assert absent_devices(PATH, b"eth0", {}, *BOTH) == []
