"""What the switch is told to lose."""

from __future__ import annotations

from carpool.lab.losses import NOTHING, adverts
from carpool.lab.topology import LAN, SYNC, WAN


def rules(ruleset: str) -> list[str]:
    return [line.strip() for line in ruleset.splitlines() if "drop" in line]


def test_one_direction_of_one_link_in_both_families() -> None:
    assert rules(adverts("fw1", [LAN], "out")) == [
        'iifname "lan-fw1" oifname { "lan-fw2", "lan-fw3" } ip protocol 112 counter drop',
        'iifname "lan-fw1" oifname { "lan-fw2", "lan-fw3" } ip6 nexthdr 112 counter drop',
    ]
    assert all('oifname "lan-fw1"' in rule for rule in rules(adverts("fw1", [LAN], "in")))


def test_both_directions_of_two_links() -> None:
    assert len(rules(adverts("fw1", [LAN, WAN], "both"))) == 8


def test_the_sync_link_loses_everything() -> None:
    (rule,) = rules(adverts("fw1", [SYNC], "out"))
    assert "112" not in rule


def test_what_was_lost_before_is_lost_no_more() -> None:
    assert adverts("fw1", [WAN], "in").startswith(NOTHING)
