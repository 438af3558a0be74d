from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from carpool.machine import watch
from carpool.machine.bfd import Path, Timing
from carpool.model.config import Config, Group, Node, Peer, States
from carpool.model.detection import Detection
from tests.unit.machine.group import LAN, WAN, vip

FW2 = {
    "lan": ("fe80::3", "10.1.1.3"),
    "wan": ("fe80::3",),
    "sync": ("10.1.3.3",),
    "mgmt": ("10.9.9.3",),
}


def config(name: str = "fw1", peer: str = "fw2") -> Config:
    addresses = {link: tuple(ip_address(one) for one in known) for link, known in FW2.items()}
    devices = {"lan": "eth0", "wan": "eth1", "sync": "eth2", "mgmt": "eth3"}
    node = Node(name, devices, peers=(Peer(peer, addresses),))
    group = Group("edge", (vip(LAN), vip(WAN)), states=States("sync"))
    return Config(node, group)


def test_a_session_for_each_link_that_matters_over_ipv4_if_there_is_any() -> None:
    found = watch.paths_of(config())
    wanted = {("lan", "10.1.1.3"), ("wan", "fe80::3"), ("sync", "10.1.3.3")}
    assert {(path.interface, str(path.peer)) for path in found} == wanted
    assert set(found.values()) == {"fw2"}
    assert watch.links_of(config()) == {"lan": "eth0", "wan": "eth1", "sync": "eth2"}


def test_who_wants_none_has_none() -> None:
    one = config()
    off = replace(one, group=replace(one.group, detection=Detection(enabled=False)))
    assert watch.paths_of(off) == {}


def test_three_packets_may_be_missing() -> None:
    assert watch.timing_of(config()) == Timing(50_000, 50_000, 3)


def test_what_one_signs_with_the_other_expects_on_that_link_alone() -> None:
    lan, wan = Path("lan", ip_address("10.1.1.3")), Path("wan", ip_address("10.1.1.3"))
    ours = watch.authentication_of(config(), lan, "fw2", 1)
    theirs = watch.authentication_of(config("fw2", "fw1"), lan, "fw1", 2)
    assert ((ours.sending,), (theirs.sending,)) == (theirs.receiving, ours.receiving)
    assert ours.sending != theirs.sending
    assert watch.authentication_of(config(), wan, "fw2", 1).sending != ours.sending


def test_another_password_is_another_key() -> None:
    one = config()
    vips = tuple(replace(each, password=b"another") for each in one.group.vips)
    other = replace(one, group=replace(one.group, vips=vips))
    path = Path("lan", ip_address("10.1.1.3"))
    keys = [watch.authentication_of(each, path, "fw2", 1) for each in (one, other)]
    assert keys[0] != keys[1]
