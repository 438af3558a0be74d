"""Checks of what a node runs and runs on."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from carpool.machine.ownchecks import (
    CHECKS,
    bound_services,
    certificates,
    conntrack_table,
    kernel,
    processes,
)
from carpool.model.config import MacMode, Web
from carpool.model.diagnosis import Severity
from carpool.model.facts import Certificate, Listener
from tests.unit.machine.facts import (
    FACTS,
    NODE_FACTS,
    UNSEEN,
    facts,
    found,
    severities,
    skipped,
    without_config,
)
from tests.unit.model.configs import GROUP, LAN, WAN, config

DAY_S = 86400.0
NOW_S = 1000 * DAY_S
VIP = ip_address("10.10.1.1")
WEB = Listener("tcp", VIP, 80, "nginx")


def test_a_good_node_has_no_findings() -> None:
    for check in CHECKS:
        assert list(check.judge(FACTS)) == [], check.name


def test_what_was_not_looked_at_is_said() -> None:
    blind = facts(listeners=UNSEEN, certificates=UNSEEN, missing=UNSEEN)
    for judge in (bound_services, certificates, kernel):
        assert skipped(judge, blind) == ["nobody has looked"]
    none = facts(node=replace(NODE_FACTS, conntrack_max=None))
    assert skipped(conntrack_table, none) == ["connection tracking is not loaded on this machine"]
    assert len(skipped(processes, without_config())) == 1


def test_only_what_is_needed_of_the_kernel_is_missed() -> None:
    old = facts(missing={"nftables egress hook": "Operation not supported"})
    (one,) = found(kernel, old)
    assert "kernel 6.1.0 refuses nftables egress hook: " in one.found
    own = replace(LAN, mac=MacMode.INTERFACE), replace(WAN, mac=MacMode.INTERFACE)
    assert not found(kernel, replace(old, config=config(vips=own)))
    events = facts(missing={"nftables ct event": "no"})
    assert found(kernel, events)
    assert not found(kernel, replace(events, config=config(group=replace(GROUP, states=None))))
    assert found(kernel, without_config(events)), "it is not known what will be needed"


def test_processes_that_are_silent() -> None:
    (one,) = found(processes, facts(silent={"states": "nobody listens"}))
    assert (one.severity, one.fix) == (Severity.WARNING, "carpool run states")


def test_processes_that_go_on_with_an_older_program() -> None:
    running = {"failover": "0.0.9", "states": NODE_FACTS.version}
    (backup,) = found(processes, facts(running=running, roles={"51@lan": "BACKUP"}))
    assert backup.found == f"failover runs carpool 0.0.9, {NODE_FACTS.version} is installed"
    assert backup.fix == "systemctl restart carpool-failover"
    (master,) = found(processes, facts(running=running, roles={"51@lan": "MASTER"}))
    assert master.fix.startswith("carpool maintenance on && systemctl restart")


def test_what_the_kernel_refuses_failover() -> None:
    (one,) = found(processes, facts(refused=("no real-time priority: grant CAP_SYS_NICE",)))
    assert "no real-time priority" in one.found


@pytest.mark.parametrize(
    ("count", "most", "ill"), [(81, 100, True), (80, 100, False), (9, 0, False)]
)
def test_a_table_that_is_nearly_full(count: int, most: int, ill: bool) -> None:
    node = replace(NODE_FACTS, conntrack_count=count, conntrack_max=most)
    assert bool(found(conntrack_table, facts(node=node))) is ill


def test_services_on_addresses_that_move() -> None:
    held = facts(listeners=(WEB,), present=frozenset({VIP}))
    (one,) = found(bound_services, held)
    assert one.found == "nginx listens on 10.10.1.1, TCP port 80: a VIP"
    assert [setting.key for setting in one.settings] == ["net/ipv4/ip_nonlocal_bind"]
    assert not found(bound_services, facts({"net/ipv4/ip_nonlocal_bind": 1}, listeners=(WEB,)))
    assert not found(bound_services, replace(held, present=frozenset())), "it can without"
    group = replace(config().group, web=Web(("lan",), port=80))
    pages = replace(held, config=replace(config(), group=group))
    assert found(bound_services, pages), "another one has their port"
    assert not found(bound_services, replace(pages, listeners=(replace(WEB, process="carpool"),)))
    own = replace(WEB, address=ip_address("10.10.1.2"))
    present = frozenset({VIP, own.address})
    assert not found(bound_services, facts(listeners=(own,), present=present))


@pytest.mark.parametrize(
    ("begins", "ends", "severity", "words"),
    [
        (-10, 31, None, ""),
        (-10, 29, Severity.WARNING, "expires in 29 days"),
        (-10, -2, Severity.WARNING, "expired 2 days ago"),
        (1, 90, Severity.WARNING, "is not valid yet, by this node's clock"),
    ],
)
def test_dates_of_certificates(
    begins: int, ends: int, severity: Severity | None, words: str
) -> None:
    one = Certificate("node.pem", NOW_S + begins * DAY_S, NOW_S + ends * DAY_S)
    ill = found(certificates, facts(certificates=(one,), now_s=NOW_S))
    assert severities(ill) == ([severity] if severity else [])
    assert all(words in each.found for each in ill)
