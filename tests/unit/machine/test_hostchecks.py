"""Checks of one machine by itself: what each finds, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carpool.machine.hostchecks import (
    CHECKS,
    arp,
    configuration,
    conntrack_events,
    forwarding,
    rp_filter,
    settings_of,
)
from carpool.model.config import MacMode, Problem
from carpool.model.diagnosis import Setting, Severity
from tests.unit.machine.facts import FACTS, UNSEEN, facts, found, severities, without_config
from tests.unit.model.configs import GROUP, LAN, WAN, config, masked


def test_a_good_machine_has_no_findings() -> None:
    for check in CHECKS:
        assert list(check.judge(FACTS)) == [], check.name


def test_every_setting_that_is_judged_is_read() -> None:
    keys = settings_of(config())
    assert "net/ipv4/conf/lan0/rp_filter" in keys
    assert "net/ipv4/conf/sync0/rp_filter" not in keys
    assert {"net/ipv4/ip_forward", "net/ipv4/conf/all/arp_filter"} <= {*settings_of(UNSEEN)}


def test_problems_of_the_files_are_told_with_the_first_of_them() -> None:
    bad = Problem("node.toml", "advskew", "255", "a number from 0 to 254")
    odd = Problem("group.toml", "file", "mode 0644", "mode 0600", fatal=False)
    both = found(configuration, facts(problems=(bad, odd, bad), config=UNSEEN))
    assert severities(both) == [Severity.ERROR, Severity.WARNING]
    assert both[0].found == "node.toml, advskew: found 255, and 1 more"
    assert both[1].found == "group.toml, file: found mode 0644"
    (none,) = found(configuration, without_config())
    assert (none.severity, none.found) == (Severity.NOTE, "nobody has looked")


def test_a_gateway_must_forward_the_families_of_its_vips() -> None:
    off = facts({"net/ipv4/ip_forward": 0, "net/ipv6/conf/all/forwarding": 0})
    assert ["forwards no IPv4" in one.found for one in found(forwarding, off)] == [True, False]
    only = replace(LAN, addresses=masked("10.10.1.1/24"))
    ipv4 = replace(off, config=config(vips=(only,)))
    assert len(found(forwarding, ipv4)) == 1
    assert not any(one.settings for one in found(forwarding, off)), "rules come first"


@pytest.mark.parametrize(
    ("of_all", "own", "strict"),
    [(0, 0, False), (1, 0, True), (0, 1, True), (1, 2, False), (2, 1, False)],
)
def test_of_two_reverse_path_filters_the_greater_counts(
    of_all: int, own: int, strict: bool
) -> None:
    keys = "net/ipv4/conf/all/rp_filter", "net/ipv4/conf/lan0/rp_filter"
    one = facts(dict(zip(keys, (of_all, own), strict=True)), config=config(vips=(LAN,)))
    expected = [(Setting(keys[1], 2),)] if strict else []
    assert [each.settings for each in found(rp_filter, one)] == expected


def test_settings_for_all_devices_that_break_arp() -> None:
    one = facts({"net/ipv4/conf/all/arp_ignore": 2, "net/ipv4/conf/all/arp_filter": 1})
    assert severities(found(arp, one)) == [Severity.ERROR] * 2
    assert "arp_ignore is 2" in found(arp, one)[0].found
    own = replace(LAN, mac=MacMode.INTERFACE), replace(WAN, mac=MacMode.INTERFACE)
    assert not found(arp, replace(one, config=config(vips=own))), "those need no virtual MAC"


def test_events_that_are_off_are_worth_a_note_where_states_are_replicated() -> None:
    off = facts({"net/netfilter/nf_conntrack_events": 0})
    (one,) = found(conntrack_events, off)
    assert (one.severity, one.settings) == (Severity.NOTE, ()), "it is an operator's choice"
    unasked = replace(off, config=config(group=replace(GROUP, states=None)))
    assert not found(conntrack_events, unasked)
