"""A change in words, and what a running process cannot take up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carpool.machine.groupdiff import lines, obstacles
from carpool.model.config import Config, MacMode, States, Vip
from tests.unit.machine.group import WAN, config, own, unicast, vip

OLD = vip()
ALIAS = vip(extra=("10.1.0.101/24", "10.1.0.102/24"))


def devices(settings: Config, **devices: str) -> Config:
    return replace(settings, node=replace(settings.node, interfaces=devices))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (OLD, ALIAS, "10.1.0.101/24, 10.1.0.102/24 added"),
        (ALIAS, OLD, "10.1.0.101/24, 10.1.0.102/24 removed"),
        (OLD, replace(OLD, advbase_s=3), "advbase: 1 -> 3 s"),
        (OLD, replace(OLD, mac=MacMode.INTERFACE), "mac: virtual -> interface"),
        (OLD, unicast(OLD), "transport: multicast -> unicast"),
        (OLD, vip(families="46"), "2001:db8:1::100/64 added"),
    ],
)
def test_each_change_of_a_vip_is_a_line(old: Vip, new: Vip, expected: str) -> None:
    assert lines(config(old), config(new)) == [f"51@lan: {expected}"]


def test_a_password_is_never_shown() -> None:
    told = lines(config(OLD), config(replace(OLD, password=b"hush")))
    assert told == ["51@lan: another password"]
    assert lines(config(replace(OLD, password=b"hush")), config(OLD)) == told


def test_what_comes_is_told_first_and_what_goes_after_what_changes() -> None:
    told = lines(config(ALIAS), config(OLD, vip(WAN), peers=("fw2", "fw3")))
    assert told[:2] == [
        "52@wan comes: 10.2.0.100/24",
        "51@lan: 10.1.0.101/24, 10.1.0.102/24 removed",
    ]
    assert lines(config(OLD, vip(WAN)), config(OLD))[0] == "52@wan goes: 10.2.0.100/24"


def test_what_is_of_the_node_and_of_the_group_is_told() -> None:
    new = config(OLD, advskew=7, preempt=False)
    assert lines(config(OLD), new) == ["preempt: on -> off", "advskew: 100 -> 7"]


def test_peers_that_come_go_and_move_are_told() -> None:
    old, new = config(OLD, peers=("fw2", "fw3")), config(OLD, peers=("fw3", "fw4"))
    moved = replace(new.node.peers[0], addresses={"lan": own("lan", 9)})
    new = replace(new, node=replace(new.node, peers=(moved, new.node.peers[1])))
    assert lines(old, new) == ["peer fw2 goes", "peer fw3: other addresses", "peer fw4 comes"]


def test_what_failover_does_not_heed_is_no_change() -> None:
    old = config(OLD, vip(WAN))
    turned = replace(old.group, vips=old.group.vips[::-1], states=States("lan"))
    assert lines(old, old) == []
    assert lines(old, replace(old, group=turned)) == []


def test_names_and_devices_need_a_new_start() -> None:
    old = config(OLD)
    other = Config(replace(old.node, name="fw9"), replace(old.group, name="other"))
    assert obstacles(old, other) == [
        "name in node.toml: fw1 -> fw9",
        "name in group.toml: pair -> other",
    ]
    assert obstacles(old, devices(old, lan="eth7")) == ["device of lan: lan0 -> eth7"]


def test_a_device_that_no_vip_is_on_may_change() -> None:
    old = devices(config(OLD), lan="lan0", sync="sync0")
    assert obstacles(old, devices(old, lan="lan0", sync="eth7")) == []


def test_links_that_come_and_go_are_no_obstacle() -> None:
    one, two = config(OLD), config(OLD, vip(WAN))
    assert obstacles(one, two) == obstacles(two, one) == obstacles(two, two) == []


def test_another_name_for_a_link_with_vips_needs_a_new_start() -> None:
    """The macvlans of both would have the same name in the kernel."""
    old = config(OLD)
    inner = replace(old.group, vips=(replace(OLD, interface="inner"),))
    new = devices(replace(old, group=inner), inner="lan0")
    assert obstacles(old, new) == ["name of device lan0: lan -> inner"]
