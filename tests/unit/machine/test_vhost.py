"""One virtual host: effects and the next deadline after every input."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, ip_address

import pytest

from carpool.machine import effects as fx
from carpool.machine.demotion import Demotion, Rank
from carpool.machine.effects import State
from carpool.machine.replay import CounterClock
from carpool.machine.vhost import (
    ADDRESS_LIFETIME_S,
    ANNOUNCE_AGAIN_S,
    ASSERT_EVERY_S,
    HOLD_EVERY_S,
    LEAVE_EVERY_S,
    LEAVING,
    Vhost,
)
from carpool.machine.wireform import WireForm
from carpool.model.config import Address, Family, Vip
from carpool.proto.carp import Advert
from tests.unit.machine.group import LAN, START_US, adverts, kinds, moves, notes, own, vip

PEER = IPv4Address("10.1.0.3")  # higher than ours, .2
LOWER = IPv4Address("10.1.0.1")
SKEW_S = 100 / 256
DOWN_S = 3 + SKEW_S


def heard(advskew: int, *, advbase_s: int = 1, demote: int = 0) -> Advert:
    return Advert(LAN.vhid, advbase_s, advskew, demote, 1, bytes(20))


GOODBYE = heard(255, advbase_s=255, demote=255)


def new(
    where: Vip | None = None, *, preempt: bool = True, demotion: Demotion | None = None
) -> Vhost:
    where = where or vip()
    vhost = Vhost(
        WireForm(where),
        advskew=100,
        preempt=preempt,
        demotion=Demotion() if demotion is None else demotion,
        clock=CounterClock(START_US, 0.0, "fw1"),
    )
    vhost.own = dict(zip(Family, own("lan"), strict=True))
    return vhost


def backup(
    where: Vip | None = None, *, preempt: bool = True, demotion: Demotion | None = None
) -> Vhost:
    vhost = new(where, preempt=preempt, demotion=demotion)
    vhost.on_usable(10.0, "lan: up")
    return vhost


def master(
    where: Vip | None = None, *, preempt: bool = True, demotion: Demotion | None = None
) -> Vhost:
    """MASTER since 100.0, all announcements done, adverts and holds sent at 110.0."""
    vhost = backup(where, preempt=preempt, demotion=demotion)
    vhost.take_over("test", 100.0)
    vhost.on_tick(110.0)
    assert (vhost.state, vhost.deadline_s) == (State.MASTER, 110.0 + HOLD_EVERY_S)
    return vhost


# ------------------------------------------------------------------------- usable, unusable


def test_a_new_vhost_waits_for_its_interface() -> None:
    vhost = new()
    assert (vhost.state, vhost.deadline_s) == (State.INIT, None)
    assert vhost.on_tick(1000.0) == []
    assert vhost.on_advert(heard(200), PEER, 1000.0) == []


def test_usable_starts_the_master_down_timer() -> None:
    vhost = new()
    assert vhost.on_usable(10.0, "lan: up") == [
        fx.Transition(LAN, State.INIT, State.BACKUP, "lan: up")
    ]
    assert vhost.deadline_s == 10.0 + DOWN_S


@pytest.mark.parametrize("make", [backup, master])
def test_usable_again_changes_nothing(make: Callable[[], Vhost]) -> None:
    vhost = make()
    before = (vhost.state, vhost.deadline_s, vhost.since_s)
    assert vhost.on_usable(111.0, "lan: up") == []
    assert (vhost.state, vhost.deadline_s, vhost.since_s) == before


def test_unusable_lets_go_before_anything_else() -> None:
    vhost = master()
    assert vhost.on_unusable(110.5, "no carrier") == [
        fx.ReleaseAddresses(LAN),
        fx.Transition(LAN, State.MASTER, State.INIT, "no carrier"),
    ]
    assert (vhost.deadline_s, vhost.master, vhost.since_s) == (None, None, 110.5)


def test_unusable_again_tells_the_newer_reason_only() -> None:
    vhost = new()
    assert vhost.on_unusable(5.0, "device is gone") == []
    assert (vhost.state, vhost.reason, vhost.since_s) == (State.INIT, "device is gone", 0.0)


def test_disabled_is_left_by_becoming_usable() -> None:
    vhost = master()
    vhost.on_unusable(110.5, "disabled", State.DISABLED)
    assert (vhost.state, vhost.deadline_s) == (State.DISABLED, None)
    assert moves(vhost.on_usable(111.0, "lan: up")) == [(LAN, State.DISABLED, State.BACKUP)]
    assert vhost.deadline_s == 111.0 + DOWN_S


# ---------------------------------------------------------------------------------- BACKUP


def test_an_advert_of_a_better_master_restarts_the_timer() -> None:
    vhost = backup()
    assert vhost.on_advert(heard(0), PEER, 12.0) == []
    assert (vhost.state, vhost.deadline_s, vhost.master) == (State.BACKUP, 12.0 + DOWN_S, PEER)


def test_silence_makes_master_and_the_order_of_effects_is_own_announce_advertise() -> None:
    vhost = backup()
    assert vhost.on_tick(10.0 + DOWN_S - 0.001) == []
    effects = vhost.on_tick(10.0 + DOWN_S)
    assert kinds(effects) == ["TakeAddresses", "Announce", "SendAdvert", "Transition"]
    (advert,) = adverts(effects)
    assert (advert.advbase_s, advert.advskew, advert.demote) == (1, 100, 0)
    assert vhost.form.verify(advert)
    assert vhost.reason == "no advertisement for 3.39 s"
    assert vhost.deadline_s == 10.0 + DOWN_S + ANNOUNCE_AGAIN_S[0]


@pytest.mark.parametrize(
    ("advert", "preempt", "takes_over"),
    [
        (heard(99), True, False),  # faster
        (heard(100), True, False),  # a tie goes to the node already heard
        (heard(101), True, True),  # slower
        (heard(101), False, False),
        (heard(239), False, False),
        (heard(240), False, True),  # demoted: not left with half a group
        (heard(0, advbase_s=2), True, True),
        (heard(0, advbase_s=2), False, False),
        (heard(100, advbase_s=3), False, False),  # exactly as slow as we wait
        (heard(101, advbase_s=3), False, True),  # would time out anyway
        (heard(100, demote=1), True, True),  # as fast, but demoted
        (heard(100, demote=1), False, True),  # by a check that weighs less than all
        (GOODBYE, True, True),
        (GOODBYE, False, True),
        (heard(255), False, True),  # BSD says goodbye with its own advbase, too
    ],
)
def test_which_advert_makes_a_backup_take_over(
    advert: Advert, preempt: bool, takes_over: bool
) -> None:
    vhost = backup(preempt=preempt)
    effects = vhost.on_advert(advert, PEER, 12.0)
    if takes_over:
        assert kinds(effects) == ["TakeAddresses", "Announce", "SendAdvert", "Transition"]
        assert (vhost.state, vhost.deadline_s) == (State.MASTER, 12.0 + ANNOUNCE_AGAIN_S[0])
    else:
        assert effects == []
        assert (vhost.state, vhost.deadline_s) == (State.BACKUP, 12.0 + DOWN_S)


def test_a_demoted_backup_does_not_preempt_and_waits_longer() -> None:
    demotion = Demotion()
    vhost = backup(demotion=demotion)
    demotion.set("maintenance", Rank.MAINTENANCE, True)
    assert vhost.deadline_s == 10.0 + 3 + 240 / 256
    assert vhost.on_advert(heard(200), PEER, 12.0) == []
    assert vhost.deadline_s == 12.0 + 3 + 240 / 256


def test_the_less_demoted_of_two_demoted_nodes_takes_over() -> None:
    demotion = Demotion()
    vhost = backup(preempt=False, demotion=demotion)
    demotion.set("maintenance", Rank.MAINTENANCE, True)
    assert vhost.on_advert(heard(240, demote=1), PEER, 12.0) == []
    assert kinds(vhost.on_advert(heard(240, demote=32), PEER, 12.1))[0] == "TakeAddresses"


# ---------------------------------------------------------------------------------- MASTER


def test_a_master_advertises_by_its_interval_and_holds_every_second() -> None:
    vhost = master()
    assert vhost.on_tick(110.9) == []
    assert vhost.on_tick(111.0) == [fx.HoldAddresses(LAN)]
    assert vhost.deadline_s == 110.0 + 1 + SKEW_S
    assert kinds(vhost.on_tick(110.0 + 1 + SKEW_S)) == ["SendAdvert"]
    assert vhost.deadline_s == 112.0


def test_a_demotion_moves_the_advert_of_a_master_at_once() -> None:
    demotion = Demotion()
    vhost = master(demotion=demotion)
    vhost.on_tick(111.0)
    demotion.set("maintenance", Rank.MAINTENANCE, True)
    assert vhost.deadline_s == 110.0 + 1 + 240 / 256
    demotion.set("maintenance", Rank.MAINTENANCE, False)
    assert vhost.deadline_s == 110.0 + 1 + SKEW_S


def test_announcements_are_repeated_while_neighbours_may_be_locked() -> None:
    vhost = backup()
    vhost.take_over("test", 100.0)
    announced = []
    while (now_s := vhost.deadline_s or 0.0) < 110.0:
        if fx.Announce(LAN) in vhost.on_tick(now_s):
            announced.append(round(now_s - 100.0, 6))
    assert announced == list(ANNOUNCE_AGAIN_S)


def test_a_late_tick_announces_once_for_all_that_was_due() -> None:
    vhost = backup()
    vhost.take_over("test", 100.0)
    assert kinds(vhost.on_tick(102.5)).count("Announce") == 1
    assert kinds(vhost.on_tick(104.9)).count("Announce") == 0
    assert kinds(vhost.on_tick(105.0)).count("Announce") == 1


@pytest.mark.parametrize(
    ("advert", "source", "yields"),
    [
        (heard(99), PEER, True),
        (heard(99, demote=255), PEER, True),
        (heard(100), LOWER, True),
        (heard(100), PEER, False),
        (heard(100, demote=1), LOWER, False),
        (heard(101), LOWER, False),
    ],
    ids=["faster", "faster though demoted", "tie lower", "tie higher", "demoted", "slower"],
)
def test_which_advert_makes_a_master_yield(advert: Advert, source: Address, yields: bool) -> None:
    vhost = master()
    effects = vhost.on_advert(advert, source, 110.9)
    if yields:
        # The advert is our last word: it makes the winner announce its addresses again.
        assert kinds(effects) == ["ReleaseAddresses", "SendAdvert", "Transition"]
        assert (vhost.state, vhost.master) == (State.BACKUP, source)
        assert vhost.deadline_s == 110.9 + DOWN_S
    else:
        assert kinds(effects) == ["SendAdvert", "Announce", "Note"]
        assert (vhost.state, notes(effects)[0][0]) == (State.MASTER, "conflict")
        assert vhost.deadline_s == 111.0  # the hold, before the first repetition


def test_a_tie_is_broken_in_the_first_family_only() -> None:
    """Otherwise IPv4 and IPv6 might each let another one win."""
    vhost = master(vip(families="46"))
    ipv6 = vhost.on_advert(heard(100), ip_address("fe80::1:1"), 110.9)
    assert (kinds(ipv6), moves(ipv6)) == (["SendAdvert", "SendAdvert", "Announce", "Note"], [])
    ipv4 = vhost.on_advert(heard(100), LOWER, 111.1)
    assert moves(ipv4) == [(LAN, State.MASTER, State.BACKUP)]


def test_a_tie_is_broken_in_the_family_that_gets_through() -> None:
    vhost = master(vip(families="46"))
    for second in range(1, 20):
        vhost.on_tick(110.0 + second)
        vhost.on_advert(heard(100), ip_address("fe80::1:1"), 110.5 + second)
        assert vhost.state is (State.MASTER if second < 1 + DOWN_S else State.BACKUP)
    assert vhost.master == ip_address("fe80::1:1")


def test_the_first_family_decides_as_long_as_it_gets_through() -> None:
    vhost = master(vip(families="46"))
    for second in range(1, 20):
        vhost.on_tick(110.0 + second)
        vhost.on_advert(heard(100), PEER, 110.4 + second)
        vhost.on_advert(heard(100), ip_address("fe80::1:1"), 110.5 + second)
    assert vhost.state is State.MASTER


def test_a_tie_is_broken_in_ipv6_where_there_is_no_other() -> None:
    vhost = master(vip(families="6"))
    vhost.own = {Family.IPV6: own("lan")[1]}
    vhost.on_advert(heard(100), ip_address("fe80::1:1"), 110.9)
    assert vhost.state is State.BACKUP


def test_dual_stack_sends_in_both_families_with_growing_counters() -> None:
    vhost = master(vip(families="46"))
    effects = vhost.advertise(120.0)
    assert [e.family for e in effects if isinstance(e, fx.SendAdvert)] == list(Family)
    first, second = adverts(effects)
    assert second.counter == first.counter + 256
    assert vhost.counters == [first.counter, second.counter]


def test_a_family_without_own_address_is_silent() -> None:
    vhost = master(vip(families="46"))
    vhost.own = {Family.IPV6: own("lan")[1]}
    sent = [e.family for e in vhost.advertise(120.0) if isinstance(e, fx.SendAdvert)]
    assert sent == [Family.IPV6]


def test_an_inferior_master_is_answered_at_most_every_tenth_of_a_second() -> None:
    vhost = master()
    assert vhost.on_advert(heard(200), PEER, 110.5) != []
    assert adverts(vhost.on_advert(heard(200), PEER, 110.5 + 0.9 * ASSERT_EVERY_S)) == []
    assert vhost.on_advert(heard(200), PEER, 110.5 + 1.1 * ASSERT_EVERY_S) != []


def test_an_advert_just_sent_does_not_spare_the_announcement_after_a_conflict() -> None:
    """The other may yield to that very advert and be heard no more: who else would announce?"""
    vhost = master()
    vhost.advertise(110.5)
    effects = vhost.on_advert(heard(200), PEER, 110.501)
    assert kinds(effects) == ["SendAdvert", "Announce", "Note"]


def test_the_last_word_of_who_was_just_preempted_is_no_conflict_but_is_put_right() -> None:
    """It came from the virtual MAC: switches believe that it lives there again."""
    vhost = backup()
    vhost.take_over("test", 100.0)
    assert vhost.on_advert(heard(200), PEER, 100.001) == [fx.Announce(LAN)]


def test_after_a_conflict_announcements_are_repeated() -> None:
    vhost = master()
    vhost.on_advert(heard(200), PEER, 110.5)
    assert fx.Announce(LAN) in vhost.on_tick(110.5 + ANNOUNCE_AGAIN_S[0])


# --------------------------------------------------------------------------------- leaving


def test_leaving_says_so_and_goes_on_owning() -> None:
    vhost = master()
    (advert,) = adverts(vhost.leave(110.5))
    assert (advert.advbase_s, advert.advskew, advert.demote) == (255, 255, 255)
    assert (vhost.state, vhost.standing) == (State.MASTER, LEAVING)
    assert vhost.deadline_s == 110.5 + LEAVE_EVERY_S
    assert len(adverts(vhost.on_tick(110.5 + LEAVE_EVERY_S))) == 1
    assert vhost.leave(110.6) == []


@pytest.mark.parametrize("advskew", [0, 100, 254])
def test_who_is_leaving_hands_over_to_whoever_is_heard(advskew: int) -> None:
    vhost = master()
    vhost.leave(110.5)
    assert kinds(vhost.on_advert(heard(advskew), PEER, 110.501)) == [
        "ReleaseAddresses",
        "Transition",
    ]
    assert (vhost.leaving, vhost.master, vhost.deadline_s) == (False, PEER, 110.501 + DOWN_S)


def test_somebody_elses_goodbye_is_no_successor() -> None:
    vhost = master()
    vhost.leave(110.5)
    assert vhost.on_advert(GOODBYE, PEER, 110.501) == []
    assert vhost.state is State.MASTER


def test_a_master_lets_a_leaving_one_hear_it() -> None:
    vhost = master()
    assert kinds(vhost.on_advert(GOODBYE, PEER, 110.5)) == ["SendAdvert", "Announce"]
    # A goodbye that crossed our announcement: switches look for the virtual MAC there again.
    assert kinds(vhost.on_advert(GOODBYE, PEER, 110.55)) == ["Announce"]


def test_staying_takes_the_goodbye_back() -> None:
    vhost = master()
    assert vhost.stay(110.5) == []
    vhost.leave(110.5)
    (advert,) = adverts(vhost.stay(111.5))
    assert (advert.advbase_s, advert.advskew) == (1, 100)
    assert not vhost.leaving


def test_only_a_master_says_goodbye() -> None:
    assert backup().leave(11.0) == []


def test_adopting_owns_and_says_goodbye_in_one_go() -> None:
    vhost = backup()
    effects = vhost.adopt(10.1)
    assert kinds(effects) == ["TakeAddresses", "SendAdvert", "Transition"]
    assert adverts(effects)[0].leaving
    assert (vhost.state, vhost.deadline_s) == (State.MASTER, 10.1 + LEAVE_EVERY_S)


# ----------------------------------------------------------------------------------- stall


def test_a_master_that_slept_shorter_than_its_addresses_live_goes_on() -> None:
    vhost = master()
    assert vhost.fenced_at_s == 110.0 + ADDRESS_LIFETIME_S


def test_a_master_that_slept_longer_steps_down() -> None:
    vhost = master()
    effects = vhost.fence(110.0 + ADDRESS_LIFETIME_S)
    assert kinds(effects) == ["Note", "ReleaseAddresses", "Transition"]
    assert (vhost.state, vhost.master) == (State.BACKUP, None)
    assert vhost.deadline_s == 110.0 + ADDRESS_LIFETIME_S + DOWN_S


def test_a_backup_has_nothing_to_lose_by_sleeping() -> None:
    assert (backup().fenced_at_s, backup().fence(1000.0)) == (None, [])


def test_three_missed_adverts_end_a_mastership_before_its_addresses_do() -> None:
    vhost = master()
    vhost.on_tick(vhost.deadline_s or 0.0)
    vhost.retake(112.5)
    assert vhost.fenced_at_s == 113.0


def test_who_was_suspended_as_backup_listens_anew() -> None:
    vhost = backup()
    vhost.listen_anew(1000.0)
    assert vhost.deadline_s == 1000.0 + DOWN_S
