"""What differs between two tables: who is right, what matters, and when to look."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carpool.machine import walk
from carpool.machine.walk import Action, Drift, Rounds
from carpool.proto import ctmessage as ct
from carpool.proto.statecheck import Found, Table, Verdict

FLOW = ct.Tuple(b"\x0a\0\0\x01", b"\x0a\0\0\x02", ct.IP_UDP, 1, 2)
LEAVE, SEND, REMOVE = Action.LEAVE, Action.SEND, Action.REMOVE


@pytest.mark.parametrize(
    ("master", "their_master", "alive", "missing", "different"),
    [
        (True, False, False, SEND, SEND),
        (True, True, False, LEAVE, LEAVE),  # two masters: each knows its own
        (False, False, False, LEAVE, LEAVE),  # none: no truth to go by
        (False, False, True, LEAVE, LEAVE),
        (False, True, False, REMOVE, LEAVE),  # the master's own walk mends the other translation
        (False, True, True, SEND, LEAVE),  # it lives here, against all order: tell the master
    ],
)
def test_the_master_is_right(
    master: bool, their_master: bool, alive: bool, missing: Action, different: Action
) -> None:
    for verdict, wanted in ((Verdict.MISSING, missing), (Verdict.DIFFERENT, different)):
        assert wanted is walk.judge(verdict, master=master, their_master=their_master, alive=alive)


@pytest.mark.parametrize(
    ("status", "protocol", "timeout_s", "wanted"),
    [
        (ct.ASSURED, ct.IP_TCP, 11, True),
        (ct.ASSURED, ct.IP_TCP, 10, False),
        (0, ct.IP_UDP, 120, False),  # what a SYN or a query leaves behind ends soon
        (0, ct.IP_UDP, 121, True),
        (ct.SEEN_REPLY, ct.IP_ICMP, 30, True),
        (0, 112, 600, False),
    ],
)
def test_what_ends_soon_by_itself_does_not_matter(
    status: int, protocol: int, timeout_s: int, wanted: bool
) -> None:
    orig = replace(FLOW, protocol=protocol)
    assert walk.matters(ct.Entry(orig, orig.inverted(), status, timeout_s)) is wanted


def test_a_packet_between_two_looks_sets_the_timeout_back() -> None:
    assert walk.refreshed(120, 120) and walk.refreshed(120, 119)
    assert not walk.refreshed(120, 118) and not walk.refreshed(120, 117)


def test_a_table_is_nearly_full_before_it_is_full() -> None:
    assert walk.nearly_full("fw2", Table(False, True, 89, 100)) is None
    warning = walk.nearly_full("fw2", Table(False, True, 90, 100))
    assert warning and "fw2 holds 90 of 100 entries" in warning and "nf_conntrack_max" in warning
    assert walk.nearly_full("fw2", Table(False, True, 10**9, 0)) is None  # no limit


def test_drift_is_what_both_walks_found_last_and_the_sum_of_all() -> None:
    drift = Drift().walked(Found(10, missing=2), 1.0, by_us=True)
    drift = drift.walked(Found(12, extra=3), 2.0, by_us=False)
    assert (drift.last, drift.at_s) == (Found(22, missing=2, extra=3), 2.0)
    drift = drift.walked(Found(10), 3.0, by_us=True)
    assert drift.last == Found(22, extra=3)
    assert drift.total == Found(32, missing=2, extra=3)


def test_rounds_begin_soon_after_the_greeting_and_go_on_slowly() -> None:
    rounds = Rounds()
    assert not rounds.due(1e9)
    rounds.up(100.0)
    first_s = 100.0 + walk.WALK_FIRST_S
    assert rounds.deadline_s == first_s and not rounds.due(first_s - 0.1)
    assert [rounds.due(first_s), rounds.due(first_s)] == [True, False]
    assert rounds.deadline_s == first_s + walk.WALK_EVERY_S
    rounds.down()
    assert not rounds.due(1e9)


@pytest.mark.parametrize(
    ("master", "was_master", "theirs", "wanted"),
    [
        (False, False, (True, True), False),  # it has all, and knows what has ended
        (False, False, (True, False), True),  # it booted alone: what we have may live
        (False, False, (False, True), True),  # nobody is master yet
        (False, True, (True, True), True),  # states were made here, in a split
        (True, True, (True, True), True),  # two masters
        (True, True, (False, True), True),
    ],
)
def test_a_master_that_has_all_is_not_told_of_the_dead(
    master: bool, was_master: bool, theirs: tuple[bool, bool], wanted: bool
) -> None:
    table = Table(*theirs, 10, 100)
    assert walk.gives_table(master=master, was_master=was_master, theirs=table) is wanted
