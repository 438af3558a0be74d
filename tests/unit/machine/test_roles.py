"""When a role is taken up, and what services of the master alone do in it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from carpool.machine.roles import TRIES, Roles, Waits, deeds, duties, has_role
from carpool.model.section import RolePolicy, Service

AT_S = 1000.0
WAITS = Waits()
SETTLE_S, LOST_S, AGAIN_S = WAITS.settle_s, WAITS.lost_s, WAITS.again_s


@dataclass(frozen=True)
class Seen:
    name: str = "vpn"
    installed: bool = True
    active: bool = False
    enabled: bool | None = None
    sub: str = "dead"


def taken(master: bool) -> Roles:
    """One that has taken up a role at AT_S."""
    roles = Roles(AT_S - SETTLE_S, WAITS)
    roles.heard(master, AT_S - SETTLE_S)
    assert roles.due(AT_S) is master
    return roles


@pytest.mark.parametrize("master", [True, False])
def test_the_first_role_is_taken_up_once_and_when_it_has_settled(master: bool) -> None:
    roles = Roles(AT_S, WAITS)
    roles.heard(master, AT_S + 3)
    assert roles.deadline_s == AT_S + 3 + SETTLE_S
    assert roles.due(AT_S + 3 + SETTLE_S - 0.01) is None
    assert roles.due(AT_S + 3 + SETTLE_S) is master
    assert roles.due(AT_S + 99) is None
    roles.heard(master, AT_S + 100)  # said again
    assert roles.due(AT_S + 200) is None


@pytest.mark.parametrize("master", [True, False])
def test_a_change_that_does_not_last_does_nothing(master: bool) -> None:
    roles = taken(master)
    for flap in range(10):
        roles.heard(not master, AT_S + flap)
        assert roles.due(AT_S + flap + SETTLE_S - 0.1) is None
        roles.heard(master, AT_S + flap + SETTLE_S - 0.1)
        assert roles.deadline_s is None
    roles.heard(not master, AT_S + 20)
    assert roles.due(AT_S + 20 + SETTLE_S) is (not master)


def test_each_flap_begins_the_second_anew() -> None:
    roles = Roles(AT_S, WAITS)
    roles.heard(True, AT_S)
    roles.heard(False, AT_S + 0.5)
    roles.heard(True, AT_S + 0.9)
    assert roles.due(AT_S + SETTLE_S) is None
    assert roles.due(AT_S + 0.9 + SETTLE_S) is True


def test_a_failover_process_that_is_replaced_changes_nothing_and_one_that_is_gone_does() -> None:
    roles = taken(True)
    roles.heard(None, AT_S + 1)
    assert roles.due(AT_S + 1 + LOST_S - 0.1) is None
    roles.heard(True, AT_S + 1 + LOST_S - 0.1)
    assert roles.deadline_s is None
    roles.heard(None, AT_S + 10)
    assert roles.due(AT_S + 10 + LOST_S) is False
    roles.heard(False, AT_S + 20)
    assert roles.deadline_s is None  # that it is not MASTER is known already


def test_at_a_boot_without_failover_a_node_is_not_master() -> None:
    roles = Roles(AT_S, WAITS)
    assert roles.due(AT_S + LOST_S - 0.1) is None
    assert roles.due(AT_S + LOST_S) is False


def test_what_failed_is_tried_again_but_not_for_ever() -> None:
    roles = taken(False)
    now_s = AT_S
    for _ in range(TRIES - 1):
        roles.failed(False, now_s)
        assert roles.due(now_s + AGAIN_S - 0.1) is None
        now_s += AGAIN_S
        assert roles.due(now_s) is False
    roles.failed(False, now_s)
    assert roles.deadline_s is None
    roles.heard(True, now_s)
    assert roles.due(now_s + SETTLE_S) is True
    roles.failed(True, now_s + SETTLE_S)
    assert roles.due(now_s + SETTLE_S + AGAIN_S) is True


def test_a_failure_of_the_role_before_delays_nothing() -> None:
    roles = taken(True)
    roles.heard(False, AT_S + 1)
    roles.failed(True, AT_S + 1.5)
    assert roles.due(AT_S + 1 + SETTLE_S) is False


@pytest.mark.parametrize(
    ("master", "seen", "verbs"),
    [
        (True, Seen(), ("start",)),
        (True, Seen(active=True, sub="running"), ()),
        (True, Seen(sub="failed"), ("start",)),
        (True, Seen(active=True, enabled=True), ("disable",)),
        (True, Seen(enabled=True), ("start", "disable")),
        (False, Seen(), ()),
        (False, Seen(enabled=False), ()),
        (False, Seen(sub="stopped"), ()),
        (False, Seen(sub="failed"), ()),
        (False, Seen(active=True, sub="running"), ("stop",)),
        (False, Seen(sub="auto-restart"), ("stop",)),
        (False, Seen(active=True, enabled=True, sub="running"), ("stop", "disable")),
        (False, Seen(enabled=True), ("disable",)),
        (True, Seen(installed=False), ()),
        (False, Seen(installed=False), ()),
    ],
)
def test_what_a_service_must_do(master: bool, seen: Seen, verbs: tuple[str, ...]) -> None:
    assert deeds(master, [seen]) == ([(seen.name, verbs)] if verbs else [])


@pytest.mark.parametrize(
    ("master", "seen", "verbs"),
    [
        (True, Seen(), ()),  # somebody stopped it, and knows why
        (True, Seen(sub="failed"), ()),
        (True, Seen(active=True, enabled=True), ("disable",)),
        (False, Seen(active=True, sub="running"), ("stop",)),
        (False, Seen(active=True, enabled=True, sub="running"), ("stop", "disable")),
    ],
)
def test_what_a_look_mends(master: bool, seen: Seen, verbs: tuple[str, ...]) -> None:
    assert deeds(master, [seen], fresh=False) == ([(seen.name, verbs)] if verbs else [])


MASTER, BOTH = RolePolicy.MASTER, RolePolicy.BOTH


def test_a_service_that_another_section_runs_everywhere_is_not_the_masters_alone() -> None:
    named = [("vpn", MASTER), ("web", BOTH), ("net", MASTER), ("net", BOTH), ("vpn", MASTER)]
    found = duties(Service(name, role=role) for name, role in named)
    assert [one.name for one in found] == ["vpn"]


def test_a_service_that_commands_switch_follows_the_role_wherever_it_is_named() -> None:
    switched = Service("frr", role=BOTH, on_master=("a",), on_backup=("b",))
    for named in ([Service("frr", role=BOTH), switched], [switched, Service("frr", role=MASTER)]):
        assert duties(named) == [switched]


@pytest.mark.parametrize(
    ("follows", "masters", "has"),
    [
        ("", {"51@lan"}, True),
        ("", set(), False),
        ("51@lan", {"51@lan", "52@wan"}, True),
        ("51@lan", {"51@wan", "5@lan"}, False),
        ("lan", {"52@wan", "7@lan"}, True),
        ("lan", {"52@wan", "7@vlan"}, False),
    ],
)
def test_what_a_service_follows(follows: str, masters: set[str], has: bool) -> None:
    assert has_role(follows, masters) is has


def test_the_role_that_holds_is_known_but_not_while_it_changes() -> None:
    roles = taken(True)
    assert (roles.taken, roles.heard_s) == (True, AT_S - SETTLE_S)
    roles.heard(False, AT_S + 1)
    assert (roles.taken, roles.heard_s) == (None, AT_S + 1)
    assert roles.due(AT_S + 1 + SETTLE_S) is False
    assert roles.taken is False


@pytest.mark.parametrize("master", [True, False])
def test_other_services_take_up_the_role_that_is_there(master: bool) -> None:
    roles = taken(master)
    roles.again()
    assert roles.due(AT_S + 1) is master
    assert roles.due(AT_S + 2) is None
    roles.heard(not master, AT_S + 3)
    roles.again()  # in the middle of a change: when it has settled, not before
    assert roles.due(AT_S + 3 + SETTLE_S - 0.1) is None
    assert roles.due(AT_S + 3 + SETTLE_S) is (not master)
