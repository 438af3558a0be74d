"""Rules between the values of a configuration: one test a rule, with the place that is blamed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carpool.model.config import Config, Peer, Problem, States, Transport, Vip
from carpool.model.validate import PEERS_MAX, check_config
from tests.unit.model.configs import FW2, GROUP, LAN, NODE, WAN, config, ips, masked

N, G = "node.toml", "group.toml"


def places(problems: list[Problem]) -> list[tuple[str, str]]:
    return [(problem.file, problem.key) for problem in problems]


def only(checked: Config) -> Problem:
    """The one problem of this configuration."""
    problems = check_config(checked)
    assert len(problems) == 1, "\n".join(map(str, problems))
    return problems[0]


def test_a_good_configuration_has_no_problem() -> None:
    assert check_config(config()) == []


# ------------------------------------------------------------------------------- node.toml


@pytest.mark.parametrize("name", ["", "FW1", "fw.1", "fw_1", "-fw", "a" * 33, "fw1\n", "fẃ1"])
def test_names_are_of_few_characters(name: str) -> None:
    for spoiled, place in (
        (config(node=replace(NODE, name=name)), (N, "name")),
        (config(group=replace(GROUP, name=name)), (G, "name")),
    ):
        problem = only(spoiled)
        assert (problem.file, problem.key) == place
        assert problem.expected == "1 to 32 of a-z, 0-9 and -, not starting with -"


@pytest.mark.parametrize("name", ["f", "1", "fw-1", "a" * 32])
def test_good_names(name: str) -> None:
    assert check_config(config(node=replace(NODE, name=name))) == []


def test_names_of_peers_and_interfaces_too() -> None:
    peers = (replace(FW2, name="FW 2"),)
    assert places(check_config(config(node=replace(NODE, peers=peers)))) == [(N, 'peer."FW 2"')]
    interfaces = {**NODE.interfaces, "DMZ": "dmz0"}
    problem = only(config(node=replace(NODE, interfaces=interfaces)))
    assert (problem.key, problem.found) == ("interface.DMZ", '"DMZ"')


@pytest.mark.parametrize("advskew", [-1, 255, 10**20])
def test_advskew_out_of_range(advskew: int) -> None:
    problem = only(config(node=replace(NODE, advskew=advskew)))
    assert (problem.file, problem.key, problem.found) == (N, "advskew", str(advskew))
    assert problem.expected == "a number from 0 to 254"
    assert "255 would mean that it is leaving" in problem.hint


def test_advskew_254_is_good() -> None:
    assert check_config(config(node=replace(NODE, advskew=254))) == []


def test_no_interface_at_all() -> None:
    node = replace(NODE, interfaces={}, addresses={}, peers=(Peer("fw2"),))
    problems = check_config(config(node=node))
    assert places(problems)[0] == (N, "interface")
    assert places(problems)[1:] == [
        (G, "vip[0].interface"),
        (G, "vip[1].interface"),
        (G, "states.interface"),
    ]


@pytest.mark.parametrize(
    "device", ["", ".", "..", "a" * 16, "é" * 8, "a b", "a/b", "a:b", "a\tb", "a\0b"]
)
def test_names_that_no_device_can_have(device: str) -> None:
    problem = only(config(node=replace(NODE, interfaces={**NODE.interfaces, "lan": device})))
    assert (problem.file, problem.key, problem.fatal) == (N, "interface.lan", True)
    assert problem.expected.startswith("the name of a network device: 1 to 15 bytes")


@pytest.mark.parametrize("device", ["a" * 15, "eth0.100", "br-lan", "enp0s31f6", "wg@0"])
def test_names_that_a_device_can_have(device: str) -> None:
    assert (
        check_config(config(node=replace(NODE, interfaces={**NODE.interfaces, "lan": device})))
        == []
    )


def test_loopback_is_no_place_for_a_group() -> None:
    problem = only(config(node=replace(NODE, interfaces={**NODE.interfaces, "lan": "lo"})))
    assert (problem.key, problem.expected) == ("interface.lan", "a device with neighbours")


def test_a_device_with_two_logical_names() -> None:
    problem = only(config(node=replace(NODE, interfaces={**NODE.interfaces, "wan": "lan0"})))
    assert (problem.file, problem.key, problem.fatal) == (N, "interface.wan", True)
    assert problem.found == '"lan0", which is interface.lan too'


def test_an_own_address_on_an_interface_that_is_not_there() -> None:
    node = replace(NODE, addresses={**NODE.addresses, "lna": ips("10.10.1.2")})
    problem = only(config(node=node))
    assert (problem.file, problem.key, problem.found) == (N, "address.lna", '"lna"')
    assert problem.hint == 'did you mean "lan"?'


def test_a_peers_address_on_an_interface_that_is_not_there() -> None:
    peer = replace(FW2, addresses={**FW2.addresses, "dmz": ips("10.10.9.3")})
    problem = only(config(node=replace(NODE, peers=(peer,))))
    assert (problem.file, problem.key) == (N, "peer.fw2.address.dmz")
    assert problem.expected == "a logical interface of [interface] in node.toml: lan, wan, sync"


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0", "::", "127.0.0.1", "::1", "224.0.0.18", "ff02::12", "255.255.255.255", "0.1.2.3"],
)
def test_addresses_that_no_node_can_have(address: str) -> None:
    peer = replace(FW2, addresses={**FW2.addresses, "lan": ips("10.10.1.3", address)})
    problem = only(config(node=replace(NODE, peers=(peer,))))
    assert (problem.file, problem.key, problem.fatal) == (N, "peer.fw2.address.lan[1]", True)
    assert problem.found.startswith(f"{address}, ")
    own = replace(NODE, addresses={**NODE.addresses, "lan": ips(address)})
    assert places(check_config(config(node=own))) == [(N, "address.lan[0]")]


def test_a_group_of_one_is_a_warning() -> None:
    problem = only(config(node=replace(NODE, peers=())))
    assert (problem.file, problem.key, problem.fatal) == (N, "peer", False)


def test_a_group_is_of_eight_nodes_at_most() -> None:
    wan = replace(WAN, transport=Transport.MULTICAST)
    group = replace(GROUP, vips=(LAN, wan), states=None)
    peers = tuple(Peer(f"fw{number}") for number in range(2, 2 + PEERS_MAX))
    assert check_config(config(node=replace(NODE, peers=peers), group=group)) == []
    node = replace(NODE, peers=(*peers, Peer("one-more")))
    problem = only(config(node=node, group=group))
    assert (problem.file, problem.key, problem.found) == (N, "peer", "8 peers")


def test_a_peer_with_the_name_of_the_node() -> None:
    problem = only(config(node=replace(NODE, name="fw2")))
    assert (problem.file, problem.key) == (N, "peer.fw2")
    assert problem.found == '"fw2", the name of this node'
    assert "copied from another node?" in problem.hint


# ------------------------------------------------------------------------------ group.toml


def test_a_group_without_vips() -> None:
    problem = only(config(vips=()))
    assert (problem.file, problem.key, problem.found) == (G, "vip", "no [[vip]]")


@pytest.mark.parametrize("vhid", [-1, 0, 256])
def test_vhid_out_of_range(vhid: int) -> None:
    problem = only(config(wan=replace(WAN, vhid=vhid)))
    assert (problem.file, problem.key, problem.found) == (G, "vip[1].vhid", str(vhid))
    assert problem.expected == "a number from 1 to 255"


def test_a_vhid_twice_on_an_interface() -> None:
    again = replace(LAN, addresses=masked("10.10.1.11/24"))
    problem = only(config(vips=(LAN, WAN, again)))
    assert (problem.file, problem.key) == (G, "vip[2].vhid")
    assert problem.found == '51, which vip[0] has on "lan" too'
    assert problem.hint == "further addresses of VHID 51 go into the `addresses` of vip[0]"


def test_a_vhid_on_two_interfaces_is_two_virtual_hosts() -> None:
    assert check_config(config(wan=replace(WAN, vhid=51))) == []


@pytest.mark.parametrize("advbase_s", [0, 255, -1])
def test_advbase_out_of_range(advbase_s: int) -> None:
    problem = only(config(lan=replace(LAN, advbase_s=advbase_s)))
    assert (problem.file, problem.key, problem.found) == (G, "vip[0].advbase", str(advbase_s))
    assert problem.expected == "a number from 1 to 254"


@pytest.mark.parametrize("password", [b"", b"x" * 21, "ä".encode() * 11])
def test_password_of_no_or_too_many_bytes(password: bytes) -> None:
    problem = only(config(lan=replace(LAN, password=password)))
    assert (problem.file, problem.key) == (G, "vip[0].password")
    assert problem.found == f"{len(password)} bytes"
    assert password == b"" or password.decode() not in str(problem)


def test_password_of_20_bytes() -> None:
    assert check_config(config(lan=replace(LAN, password=b"x" * 20))) == []


def test_a_vip_without_addresses() -> None:
    problem = only(config(lan=replace(LAN, addresses=())))
    assert (problem.file, problem.key) == (G, "vip[0].addresses")


def test_a_vip_on_an_interface_that_is_not_there() -> None:
    problem = only(config(wan=replace(WAN, interface="lann", vhid=53)))
    assert (problem.file, problem.key, problem.found) == (G, "vip[1].interface", '"lann"')
    assert problem.hint == 'did you mean "lan"?'


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("0.0.0.0/24", "the unspecified address"),
        ("::/64", "the unspecified address"),
        ("127.0.0.1/8", "a loopback address"),
        ("::1/128", "a loopback address"),
        ("224.0.0.18/24", "a multicast address"),
        ("ff02::12/64", "a multicast address"),
        ("255.255.255.255/32", "the broadcast address"),
        ("0.1.2.3/24", 'an address of "this network" (0.0.0.0/8)'),
        ("::ffff:10.10.1.1/120", "an IPv4 address written as IPv6"),
        ("10.10.1.0/24", "the address of the network itself (/24)"),
        ("10.10.1.255/24", "the broadcast address of its network (/24)"),
        ("10.10.1.4/30", "the address of the network itself (/30)"),
        ("fd00:10::/64", "the address of the network itself (/64)"),
    ],
)
def test_addresses_that_no_vip_can_have(address: str, why: str) -> None:
    problem = only(config(lan=replace(LAN, addresses=masked("10.10.1.1/24", address))))
    assert (problem.file, problem.key, problem.fatal) == (G, "vip[0].addresses[1]", True)
    shown = str(masked(address)[0])
    assert problem.found == f"{shown}, {why}"


@pytest.mark.parametrize(
    "address",
    [
        "fe80::1/64",
        "10.10.1.4/31",
        "10.10.1.5/31",
        "10.10.1.0/32",
        "fd00::/127",
        "fd00:10::ffff:ffff:ffff:ffff/64",
        "169.254.1.1/16",
        "240.0.0.1/8",
    ],
)
def test_addresses_that_a_vip_can_have(address: str) -> None:
    assert check_config(config(lan=replace(LAN, addresses=masked(address)))) == []


def test_a_mask_of_everything() -> None:
    problem = only(config(lan=replace(LAN, addresses=masked("10.10.1.1/0"))))
    assert (problem.key, problem.hint) == ("vip[0].addresses[0]", "/0 is everything")


# --------------------------------------------------------------------- each address once


def test_an_address_twice_in_a_vip_whatever_the_mask() -> None:
    lan = replace(LAN, addresses=masked("10.10.1.1/24", "10.10.1.9/24", "10.10.1.1/32"))
    problem = only(config(lan=lan))
    assert (problem.file, problem.key, problem.fatal) == (G, "vip[0].addresses[2]", True)
    assert problem.found == "10.10.1.1, which is vip[0].addresses[0] in group.toml too"


def test_an_address_in_two_vips() -> None:
    problem = only(config(wan=replace(WAN, addresses=masked("10.10.1.1/24"))))
    assert (problem.file, problem.key) == (G, "vip[1].addresses[0]")


def test_a_vip_that_is_an_own_address() -> None:
    node = replace(NODE, addresses={**NODE.addresses, "lan": ips("10.10.1.1")})
    problem = only(config(node=node))
    assert (problem.file, problem.key) == (G, "vip[0].addresses[0]")
    assert problem.found == "10.10.1.1, which is address.lan[0] in node.toml too"
    assert "no node may have it of its own" in problem.hint


def test_a_vip_that_is_a_peers_own_address() -> None:
    problem = only(config(lan=replace(LAN, addresses=masked("10.10.1.3/24"))))
    assert (problem.file, problem.key) == (G, "vip[0].addresses[0]")
    assert problem.found == "10.10.1.3, which is peer.fw2.address.lan[0] in node.toml too"


def test_a_peer_with_an_own_address() -> None:
    node = replace(NODE, addresses={**NODE.addresses, "lan": ips("10.10.1.3")})
    problem = only(config(node=node))
    assert (problem.file, problem.key) == (N, "peer.fw2.address.lan[0]")
    assert problem.found == "10.10.1.3, which is address.lan[0] in node.toml too"
    assert "copied from another node?" in problem.hint


def test_two_peers_with_one_address() -> None:
    fw3 = Peer(
        "fw3",
        {"lan": ips("10.10.1.4"), "wan": ips("10.10.2.4", "fe80::4"), "sync": ips("10.10.3.2")},
    )
    problem = only(config(node=replace(NODE, peers=(FW2, fw3))))
    assert (problem.file, problem.key) == (N, "peer.fw3.address.sync[0]")


def test_a_link_local_address_may_be_on_every_link_but_once() -> None:
    lan = replace(LAN, addresses=masked("fe80::1/64"))
    wan = replace(WAN, addresses=masked("fe80::1/64"))
    assert check_config(config(lan=lan, wan=wan)) == []
    twice = replace(lan, addresses=masked("fe80::1/64", "fe80::1/64"))
    assert places(check_config(config(lan=twice, wan=wan))) == [(G, "vip[0].addresses[1]")]


# --------------------------------------------------------------------------------- unicast


def test_unicast_needs_an_address_of_every_family_of_every_peer() -> None:
    wan = replace(WAN, addresses=masked("10.10.2.1/24", "fd00:20::1/64"))
    assert check_config(config(wan=wan)) == []  # 10.10.2.3 and fe80::3
    fw3 = Peer("fw3", {"wan": ips("10.10.2.4"), "sync": ips("10.10.3.4")})
    problem = only(config(wan=wan, node=replace(NODE, peers=(FW2, fw3))))
    assert (problem.file, problem.key, problem.fatal) == (G, "vip[1].transport", True)
    assert problem.found == '"unicast", but no IPv6 address of fw3 to send to'
    assert problem.expected == "one in peer.fw3.address.wan of node.toml"


def test_multicast_needs_no_address_of_a_peer() -> None:
    vips = (LAN, replace(WAN, transport=Transport.MULTICAST))
    node = replace(NODE, peers=(Peer("fw2"),))
    assert check_config(config(node=node, group=replace(GROUP, vips=vips, states=None))) == []


# ---------------------------------------------------------------------------------- states


def test_states_on_an_interface_that_is_not_there() -> None:
    problem = only(config(group=replace(GROUP, states=States("snyc"))))
    assert (problem.file, problem.key, problem.found) == (G, "states.interface", '"snyc"')
    assert problem.hint == 'did you mean "sync"?'


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_states_on_a_port_out_of_range(port: int) -> None:
    problem = only(config(group=replace(GROUP, states=States("sync", port))))
    assert (problem.file, problem.key, problem.found) == (G, "states.port", str(port))


def test_states_without_an_own_address() -> None:
    problem = only(config(node=replace(NODE, addresses={"lan": ips("10.10.1.2")})))
    assert (problem.file, problem.key, problem.fatal) == (N, "address.sync", True)
    assert problem.expected == "this node's own address on sync, to listen on for states"


def test_states_without_an_address_of_a_peer() -> None:
    peer = replace(FW2, addresses={"wan": ips("10.10.2.3")})
    problem = only(config(node=replace(NODE, peers=(peer,))))
    assert (problem.file, problem.key, problem.fatal) == (N, "peer.fw2.address.sync", True)
    assert problem.expected == "the address of fw2 on sync, to replicate states to"


def test_states_between_addresses_of_different_families() -> None:
    peer = replace(FW2, addresses={**FW2.addresses, "sync": ips("fd00:30::2")})
    problem = only(config(node=replace(NODE, peers=(peer,))))
    assert (problem.file, problem.key, problem.found) == (N, "peer.fw2.address.sync", "fd00:30::2")
    assert problem.expected == "an IPv4 address, as address.sync is"


def test_states_on_an_interface_with_vips_is_a_warning() -> None:
    node = replace(NODE, addresses={"lan": ips("10.10.1.2")})
    problem = only(config(node=node, group=replace(GROUP, states=States("lan"))))
    assert (problem.file, problem.key, problem.fatal) == (G, "states.interface", False)
    assert problem.found == '"lan", which carries VIPs'


# ------------------------------------------------------- what a reader could not read


def test_nothing_is_said_about_a_place_that_was_lost() -> None:
    broken = Vip("", 0, b"", ())
    spoiled = config(vips=(broken, replace(WAN, vhid=0)))
    assert places(check_config(spoiled, {(G, ("vip", 0))})) == [(G, "vip[1].vhid")]
    assert len(check_config(spoiled)) == 5


def test_nothing_is_missed_where_reading_failed() -> None:
    alone = replace(NODE, peers=())
    assert check_config(config(node=alone), {(N, ("peer",))}) == []
    unread = replace(NODE, interfaces={}, addresses={}, peers=())
    assert check_config(config(node=unread), {(N, ())}) == []
    assert check_config(config(vips=()), {(G, ("vip",))}) == []


def test_a_lost_address_may_have_been_the_one_that_is_missing() -> None:
    wan = replace(WAN, addresses=masked("10.10.2.1/24", "fd00:20::1/64"))
    peer = replace(FW2, addresses={**FW2.addresses, "wan": ips("10.10.2.3", "0.0.0.0")})
    spoiled = config(wan=wan, node=replace(NODE, peers=(peer,)))
    lost = (N, ("peer", "fw2", "address", "wan", 1))
    assert places(check_config(spoiled)) == [
        (N, "peer.fw2.address.wan[1]"),
        (G, "vip[1].transport"),
    ]
    assert check_config(spoiled, {lost}) == []


def test_a_lost_place_elsewhere_hides_nothing() -> None:
    spoiled = config(wan=replace(WAN, interface="lann", vhid=53))
    lost = {(N, ("advskew",)), (N, ("interface", "sync")), (G, ("vip", 0, "password"))}
    assert places(check_config(spoiled, lost)) == [(G, "vip[1].interface")]
