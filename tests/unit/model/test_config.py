"""What the configuration derives from its own values."""

from __future__ import annotations

from carpool.model.config import Family, Problem, VhostKey, family_of
from tests.unit.model.configs import LAN, WAN, config, ips, masked


def test_a_virtual_host_prints_as_carp_people_write_it() -> None:
    assert str(LAN.key) == "51@lan"
    assert LAN.key == VhostKey("lan", 51)


def test_families_of_a_vip() -> None:
    assert LAN.families == (Family.IPV4, Family.IPV6)
    assert WAN.families == (Family.IPV4,)
    assert [family_of(address) for address in (*ips("::1"), *masked("10.0.0.1/8"))] == [
        Family.IPV6,
        Family.IPV4,
    ]


def test_devices_and_interfaces_with_vips() -> None:
    assert config().device("wan") == "wan0"
    assert config(vips=(WAN, LAN, WAN)).vip_interfaces() == ("wan", "lan")


def test_a_problem_as_a_line() -> None:
    problem = Problem("node.toml", "name", "1", "2", line=7)
    assert str(problem) == "node.toml:7: name: found 1, expected 2"
    assert (
        str(Problem("node.toml", "a", "1", "2", "do it"))
        == "node.toml: a: found 1, expected 2 (do it)"
    )
