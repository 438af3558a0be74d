"""What a finding rests on, and the rules of IP."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from carpool.model.finding import Finding, Place, closest, reserved, unusable


@pytest.mark.parametrize(
    ("lost", "sound"),
    [
        (("group.toml", ("vip", 0, "vhid")), False),
        (("group.toml", ("vip", 0)), False),
        (("group.toml", ()), False),
        (("group.toml", ("vip", 0, "vhid", 1)), True),  # of a list that can still be judged
        (("group.toml", ("vip", 1)), True),
        (("node.toml", ("vip", 0, "vhid")), True),
        (("node.toml", ()), False),
        (("node.toml", ("peer",)), False),
        (("node.toml", ("peer", "fw2", "address")), False),  # a part of what it needs
        (("node.toml", ("peer", "fw3")), True),
    ],
)
def test_a_finding_is_sound_while_nothing_that_it_rests_on_is_lost(
    lost: Place, sound: bool
) -> None:
    finding = Finding(
        ("group.toml", ("vip", 0, "vhid")), "1", "2", needs=(("node.toml", ("peer", "fw2")),)
    )
    assert finding.is_sound([("node.toml", ("name",)), lost]) is sound
    assert finding.is_sound([])


def test_a_finding_as_a_problem() -> None:
    finding = Finding(("node.toml", ("peer", "fw2")), "1", "2", "do it", fatal=False)
    assert str(finding.problem) == "node.toml: peer.fw2: found 1, expected 2 (do it)"
    assert not finding.problem.fatal


@pytest.mark.parametrize("address", ["10.0.0.1", "1.0.0.0", "fe80::1", "2001:db8::1", "240.0.0.1"])
def test_usable_addresses(address: str) -> None:
    assert unusable(ip_address(address)) == ""


@pytest.mark.parametrize("address", ["0.0.0.0", "127.1.1.1", "239.1.1.1", "::", "::1", "ff05::2"])
def test_unusable_addresses(address: str) -> None:
    assert unusable(ip_address(address)) != ""


@pytest.mark.parametrize(
    ("address", "length", "why"),
    [
        ("10.0.0.0", 8, "network"),
        ("10.255.255.255", 8, "broadcast"),
        ("10.0.0.3", 30, "broadcast"),
        ("10.0.0.3", 31, ""),
        ("10.0.0.2", 31, ""),
        ("10.0.0.0", 32, ""),
        ("10.0.0.1", 30, ""),
        ("fd00::", 64, "network"),
        ("fd00::4", 126, "network"),
        ("fd00::", 127, ""),
        ("fd00::", 128, ""),
        ("fd00::7", 126, ""),
    ],
)
def test_addresses_that_a_network_keeps(address: str, length: int, why: str) -> None:
    told = reserved(ip_address(address), length)
    assert why in told
    assert bool(told) is bool(why)


def test_the_closest_word() -> None:
    assert closest("vhdi", ["interface", "vhid", "mac"]) == 'did you mean "vhid"?'
    assert closest("LAN", ["lan", "wan"]) == 'did you mean "lan"?'
    assert closest("colour", ["interface", "vhid"]) == ""
    assert closest("x", []) == ""
