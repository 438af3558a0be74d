"""The configuration against the devices of a machine: what is refused and what only warned of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carpool.model.config import Config, DeviceFacts, Problem
from carpool.model.validate import check_config, check_system
from tests.unit.model.configs import FW2, LAN, NODE, WAN, config, ips, masked

N, G = "node.toml", "group.toml"


def device(name: str, *addresses: str, up: bool = True, carrier: bool = True) -> DeviceFacts:
    return DeviceFacts(name, True, masked(*addresses), up=up, carrier=carrier)


LAN0 = device("lan0", "10.10.1.2/24", "fd00:10::2/64", "fe80::a/64")
WAN0 = device("wan0", "10.10.2.2/24", "fe80::b/64")
SYNC0 = device("sync0", "10.10.3.1/24", "fe80::c/64")


def facts(*others: DeviceFacts) -> dict[str, DeviceFacts]:
    """The devices of a good machine, some of them replaced."""
    return {fact.device: fact for fact in (LAN0, WAN0, SYNC0, *others)}


def only(checked: Config, *others: DeviceFacts) -> Problem:
    assert check_config(checked) == []
    problems = check_system(checked, facts(*others))
    assert len(problems) == 1, "\n".join(map(str, problems))
    return problems[0]


def test_a_good_machine_has_no_problem() -> None:
    assert check_system(config(), facts()) == []


def test_devices_nobody_asked_about_are_not_judged() -> None:
    assert check_system(config(), {}) == []


# --------------------------------------------------------------------------------- devices


@pytest.mark.parametrize(
    ("fact", "found"),
    [
        (DeviceFacts("wan0", False), 'no device "wan0"'),
        (replace(WAN0, up=False, carrier=False), '"wan0", which is set down'),
        (replace(WAN0, carrier=False), '"wan0", which has no carrier'),
    ],
    ids=["absent", "down", "no carrier"],
)
def test_a_device_that_may_yet_come_is_a_warning(fact: DeviceFacts, found: str) -> None:
    problem = only(config(), fact)
    assert (problem.file, problem.key, problem.fatal) == (N, "interface.wan", False)
    assert problem.found == found
    assert problem.hint


def test_an_own_address_that_the_device_does_not_have() -> None:
    problem = only(config(), device("sync0", "10.10.3.9/24"))
    assert (problem.file, problem.key, problem.fatal) == (N, "address.sync[0]", False)
    assert problem.found == "10.10.3.1, which is not on sync0"
    assert problem.expected == "one of 10.10.3.9"


def test_an_own_address_on_another_device() -> None:
    node = replace(NODE, addresses={**NODE.addresses, "lan": ips("10.10.2.2")})
    problem = only(config(node=node))
    assert (problem.file, problem.key) == (N, "address.lan[0]")
    assert problem.found == "10.10.2.2, which is not on lan0; it is on wan0"


def test_a_device_without_addresses_is_told_once_a_family() -> None:
    lan = replace(LAN, addresses=masked("10.10.1.1/24", "10.10.1.11/24"))
    problem = only(config(lan=lan), device("lan0", "fe80::a/64"))
    assert (problem.file, problem.key, problem.fatal) == (N, "interface.lan", False)
    assert problem.found == '"lan0", which has no IPv4 address of its own'
    problems = check_system(config(), facts(device("lan0")))
    assert [p.found for p in problems] == [
        '"lan0", which has no IPv4 address of its own',
        '"lan0", which has no IPv6 address of its own',
    ]


# ----------------------------------------------------------------------------------- peers


def test_a_peer_that_is_this_machine() -> None:
    problem = only(config(), device("lan0", "10.10.1.3/24", "fd00:10::2/64"))
    assert (problem.file, problem.key, problem.fatal) == (N, "peer.fw2.address.lan[0]", True)
    assert problem.found == "10.10.1.3, which is this machine's own (on lan0)"
    assert "copied from another node?" in problem.hint


def test_a_link_local_address_of_a_peer_is_not_ours_because_another_link_has_it() -> None:
    assert (
        check_system(config(), facts(device("lan0", *map(str, LAN0.addresses), "fe80::3/64"))) == []
    )


def test_a_peer_outside_the_network_is_a_warning() -> None:
    peer = replace(FW2, addresses={**FW2.addresses, "lan": ips("10.10.11.3")})
    problem = only(config(node=replace(NODE, peers=(peer,))))
    assert (problem.file, problem.key, problem.fatal) == (N, "peer.fw2.address.lan[0]", False)
    assert problem.expected == "an address inside 10.10.1.0/24, as lan0 has"


# ------------------------------------------------------------------------------------ VIPs


@pytest.mark.parametrize("owner", ["lan0", "wan0"])
def test_a_vip_that_a_device_has_for_its_own(owner: str) -> None:
    fact = facts()[owner]
    spoiled = replace(fact, addresses=(*fact.addresses, *masked("10.10.1.1/24")))
    problem = only(config(), spoiled)
    assert (problem.file, problem.key, problem.fatal) == (G, "vip[0].addresses[0]", True)
    assert problem.found == f"10.10.1.1, which {owner} has for its own"


def test_a_link_local_vip_that_its_own_link_has() -> None:
    lan = replace(LAN, addresses=masked("fe80::b/64"))  # wan0 has it: another link
    assert check_system(config(lan=lan), facts()) == []
    lan = replace(LAN, addresses=masked("fe80::a/64"))
    problem = only(config(lan=lan))
    assert (problem.key, problem.found) == (
        "vip[0].addresses[0]",
        "fe80::a, which lan0 has for its own",
    )


@pytest.mark.parametrize("address", ["10.10.1.1/25", "10.10.1.1/16", "fd00:10::1/48"])
def test_a_mask_that_differs_from_the_interfaces(address: str) -> None:
    problem = only(config(lan=replace(LAN, addresses=masked(address))))
    assert (problem.file, problem.key, problem.fatal) == (G, "vip[0].addresses[0]", True)
    ip, length = address.split("/")[0], "64" if ":" in address else "24"
    assert problem.expected == f"the mask of lan0: {ip}/{length}"


@pytest.mark.parametrize("address", ["10.10.1.1/32", "fd00:10::1/128"])
def test_a_mask_of_one_address_makes_no_route_and_is_a_warning(address: str) -> None:
    problem = only(config(lan=replace(LAN, addresses=masked(address))))
    assert (problem.key, problem.fatal) == ("vip[0].addresses[0]", False)


def test_one_of_several_networks_is_enough() -> None:
    lan0 = device("lan0", "10.10.1.2/24", "10.10.1.9/25", "fd00:10::2/64")
    for address in ("10.10.1.1/24", "10.10.1.1/25"):
        vip = replace(LAN, addresses=masked(address))
        assert check_system(config(lan=vip), facts(lan0)) == []


@pytest.mark.parametrize(
    ("address", "network"),
    [("10.10.9.1/24", "10.10.1.0/24"), ("fd00:99::1/64", "fd00:10::/64")],
)
def test_a_vip_outside_every_network_may_be_meant(address: str, network: str) -> None:
    problem = only(config(lan=replace(LAN, addresses=masked(address))))
    assert (problem.file, problem.key, problem.fatal) == (G, "vip[0].addresses[0]", False)
    assert problem.expected == f"an address inside {network} of lan0"


def test_a_global_vip_on_a_device_with_link_local_addresses_only() -> None:
    wan = replace(WAN, addresses=masked("fd00:20::1/64"))
    problem = only(config(wan=wan))
    assert (problem.key, problem.fatal) == ("vip[1].addresses[0]", False)
    assert problem.expected == "an address inside a network of wan0"


def test_a_link_local_vip() -> None:
    assert check_system(config(lan=replace(LAN, addresses=masked("fe80::1/64"))), facts()) == []


@pytest.mark.parametrize("address", ["10.10.1.255/32", "10.10.1.0/32", "fd00:10::/128"])
def test_the_network_or_broadcast_address_of_the_interface(address: str) -> None:
    problem = only(config(lan=replace(LAN, addresses=masked(address))))
    assert (problem.file, problem.key, problem.fatal) == (G, "vip[0].addresses[0]", True)
    assert problem.expected == "another address of the network of lan0"
