"""One test for each rule that the engine follows, quoting it.

`carp(4)` and `ip_carp.c` are FreeBSD's; `design` is the table of states in the project's notes on
CARP, which was read from them. The rest quotes the docstrings of machine/.
"""

from __future__ import annotations

import pytest

from carpool.machine import effects as fx
from carpool.machine.departure import LEAVE_WAIT_S, SWITCHOVER_WAIT_S
from carpool.machine.effects import State
from carpool.machine.replay import CounterClock
from carpool.model.config import Family
from carpool.model.reject import Reject
from tests.unit.machine.group import (
    ALL_BACKUP,
    ALL_INIT,
    ALL_MASTER,
    LAN,
    START_US,
    WAN,
    Sender,
    adverts,
    backup,
    config,
    down,
    kinds,
    master,
    moves,
    notes,
    skews,
    states,
    up,
    vip,
)

SKEW_S = 100 / 256  # of our node
TOOK_OVER = (LAN, State.BACKUP, State.MASTER)
YIELDED = (LAN, State.MASTER, State.BACKUP)


# ----------------------------------------------------------------- design: timers and states


def test_an_advertisement_interval_is_advbase_plus_advskew_256ths() -> None:
    """carp(4): advbase and advskew "specify, in seconds and 1/256th of second" the interval."""
    engine = master()
    engine.handle(fx.Tick(), 1.0)  # the hold
    assert adverts(engine.handle(fx.Tick(), 1 + SKEW_S - 0.001)) == []
    assert len(adverts(engine.handle(fx.Tick(), 1 + SKEW_S))) == 2


def test_init_link_up_and_an_address_configured_is_backup() -> None:
    """design: INIT | link up and an address configured | BACKUP, start the master-down timer
    `3*advbase + advskew/256` s"""
    engine = backup(now_s=10.0)
    assert states(engine) == ALL_BACKUP
    assert engine.deadline_s == 10 + 3 + SKEW_S


@pytest.mark.parametrize(("preempt", "advskew"), [(True, 99), (True, 100), (False, 239)])
def test_backup_a_valid_advert_restarts_the_master_down_timer(preempt: bool, advskew: int) -> None:
    """design: BACKUP | valid advert, and (no preempt or it is not slower than us) and it is not
    slower than 3*advbase | restart the master-down timer"""
    engine = backup(config(vip(LAN), preempt=preempt))
    assert engine.handle(Sender().says(vip(LAN), advskew), 2.0) == []
    assert engine.deadline_s == 2 + 3 + SKEW_S


def test_backup_a_slower_advert_with_preempt_makes_master_at_once() -> None:
    """design: BACKUP | valid advert slower than us, preempt on | MASTER at once"""
    effects = backup().handle(Sender().says(vip(LAN), 101), 2.0)
    assert moves(effects)[0] == TOOK_OVER


def test_backup_an_advert_that_would_time_out_anyway_makes_master_at_once() -> None:
    """design: BACKUP | valid advert slower than `3*advbase` + our skew | MASTER at once"""
    engine, peer = backup(config(vip(LAN), preempt=False)), Sender()
    assert engine.handle(peer.says(vip(LAN), 100, advbase_s=3), 2.0) == []
    assert moves(engine.handle(peer.says(vip(LAN), 101, advbase_s=3), 2.1)) == [TOOK_OVER]


def test_backup_master_down_timer() -> None:
    """design: BACKUP | master-down timer | MASTER: advertise, gratuitous ARP / unsolicited NA"""
    effects = backup(config(vip(LAN))).handle(fx.Tick(), 3 + SKEW_S)
    assert kinds(effects) == ["TakeAddresses", "Announce", "SendAdvert", "Transition"]


def test_master_advert_timer_with_the_effective_skew() -> None:
    """design: MASTER | advert timer | advertise, restart it with the *effective* skew"""
    engine = master(config(vip(LAN)))
    engine.handle(fx.SetMaintenance(True), 0.5)
    engine.handle(fx.Tick(), 1.0)
    engine.handle(fx.Tick(), 2.0)
    assert engine.deadline_s == 0.5 + 1 + 240 / 256


def test_master_a_valid_advert_that_is_not_slower_makes_backup() -> None:
    """design: MASTER | valid advert with interval <= ours | BACKUP. With our tie-break: of two
    with the same interval one stays (vhost.py, rule 1), so that there is never none."""
    assert moves(master().handle(Sender().says(vip(LAN), 99), 0.5)) == [YIELDED]
    assert moves(master().handle(Sender(host=1).says(vip(LAN), 100), 0.5)) == [YIELDED]
    assert moves(master().handle(Sender(host=3).says(vip(LAN), 100), 0.5)) == []


@pytest.mark.parametrize("make", [backup, master], ids=["BACKUP", "MASTER"])
def test_any_interface_down_makes_init_and_demotes_the_whole_node(make: type) -> None:
    """design: any | interface down or no carrier | INIT, demote the whole node"""
    engine = make()
    engine.handle(down("lan"), 0.5)
    assert states(engine)[LAN] is State.INIT
    assert engine.status(0.5).effective_advskew == 240


def test_any_shutting_down_says_goodbye_then_init() -> None:
    """design: any | disabled / shutting down | one advert with advskew 255 ("I am leaving": the
    backup takes over at once), then INIT"""
    engine = master()
    assert {a.advskew for a in adverts(engine.handle(fx.Stop(), 0.5))} == {255}
    engine.handle(fx.Tick(), 0.5 + LEAVE_WAIT_S)
    assert states(engine) == ALL_INIT
    assert moves(backup(config(vip(LAN))).handle(Sender().leaves(vip(LAN)), 2.0)) == [TOOK_OVER]


def test_effective_skew_is_capped_at_240() -> None:
    """ip_carp.c: an advskew that demotion took past CARP_MAXSKEW (240) is sent as CARP_MAXSKEW"""
    engine = master()
    assert skews(engine.handle(fx.SetMaintenance(True), 0.5)) == [240, 240]
    assert skews(master(config(advskew=254)).handle(down("lan"), 0.5)) == [240]


def test_demotion_is_raised_by_a_lost_interface_send_errors_bulk_sync_and_maintenance() -> None:
    """design: raised by: interface down (+240 each), repeated send errors (+240 after 3, back
    after 3 successes), bulk state sync in progress (+240), persistent maintenance mode (+240)"""
    engine = backup()
    engine.handle(down("lan"), 0.1)
    engine.handle(fx.SetBulkSync(True), 0.2)
    engine.handle(fx.SetMaintenance(True), 0.3)
    for _ in range(3):
        engine.handle(fx.SendResult("wan", "no buffer space"), 0.4)
    assert [(r.reason, r.weight) for r in engine.demotion.reasons()] == [
        ("interface lan down", 240),
        ("bulk sync", 240),
        ("maintenance", 240),
        ("send errors wan", 240),
    ]
    for _ in range(3):
        engine.handle(fx.SendResult("wan", None), 0.5)
    engine.handle(fx.SetMaintenance(False), 0.6)
    engine.handle(fx.SetBulkSync(False), 0.7)
    engine.handle(up("lan"), 0.8)
    assert engine.demotion.reasons() == ()


def test_preempt_moves_vhids_as_a_group() -> None:
    """design: Preempt makes VHIDs move as a group: one lost interface demotes all the others, and
    the peer takes all of them."""
    loser = master()
    (advert,) = adverts(loser.handle(down("lan"), 0.5))
    assert advert.advskew == 240
    winner = backup()
    winner.handle(Sender().says(vip(WAN), advert.advskew, demote=advert.demote), 0.5)
    assert states(winner) == ALL_MASTER


def test_a_packet_that_crossed_a_router_is_dropped() -> None:
    """design: TTL / hop limit 255 (anything else is dropped)"""
    engine, packet = master(), Sender().says(vip(LAN), 0)
    for hop_limit in (0, 1, 64, 254):
        far = fx.PacketReceived("lan", packet.source, hop_limit, packet.payload)
        assert moves(engine.handle(far, 0.5)) == []
    assert engine.counters[Reject.TTL] == 4


# ------------------------------------------------------------------------------- vhost.py


def test_vhost_rule_1_interval_then_demote_byte_then_address() -> None:
    """Rule 1: lower wins, then the lower demote byte, and between masters of the same rank the
    lower source address (as UCarp does)."""
    lower, higher = Sender(host=1), Sender(host=3)
    engine = master()
    assert moves(engine.handle(lower.says(vip(LAN), 101), 0.1)) == []
    assert moves(engine.handle(lower.says(vip(LAN), 100, demote=1), 0.3)) == []
    assert moves(engine.handle(higher.says(vip(LAN), 100), 0.5)) == []
    assert moves(engine.handle(lower.says(vip(LAN), 100), 0.7)) == [YIELDED]


def test_vhost_rule_2_one_timer_for_both_families() -> None:
    """Rule 2: an advert in either family proves that the master lives."""
    where = vip(LAN, "46")
    engine, peer = backup(config(where)), Sender()
    for second in range(1, 10):
        family = Family.IPV4 if second % 2 else Family.IPV6
        assert engine.handle(peer.says(where, 0, family=family), float(second)) == []
        assert engine.deadline_s == second + 3 + SKEW_S


def test_vhost_rule_3_a_demotion_moves_deadlines_at_once() -> None:
    """Rule 3: deadlines are derived from what was heard and from the present demotion, never
    stored, so a demotion that ends or begins moves them at once."""
    engine = backup()
    engine.handle(fx.SetMaintenance(True), 1.0)
    assert engine.deadline_s == 3 + 240 / 256
    engine.handle(fx.SetMaintenance(False), 3.5)
    assert engine.deadline_s == 3 + SKEW_S
    assert moves(engine.handle(fx.Tick(), 3.5))[0] == TOOK_OVER


def test_vhost_rule_4_a_master_that_slept_is_backup_before_it_does_anything() -> None:
    """Rule 4: a master that slept until its addresses ran out, or until a peer may have missed
    three of its adverts, becomes BACKUP before it does anything else; then its peers are told."""
    effects = master(config(vip(LAN))).handle(fx.Tick(), 10.0)
    assert kinds(effects) == ["Note", "ReleaseAddresses", "Transition", "Note", "TellReset"]


@pytest.mark.parametrize("advskew", [101, 240, 255], ids=["slower", "demoted", "leaving"])
def test_vhost_rule_5_a_backup_with_a_living_master_heeds_no_slower_one(advskew: int) -> None:
    """Rule 5: a BACKUP that follows a living master does not heed a slower one: that one is the
    master's to correct."""
    engine, best, deaf = backup(config(vip(LAN))), Sender(host=3), Sender(host=4)
    engine.handle(best.says(vip(LAN), 0), 1.0)
    assert engine.handle(deaf.says(vip(LAN), advskew), 1.5) == []
    assert engine.deadline_s == 1 + 3 + SKEW_S
    # Once the master is not heard any more, the other one is heeded.
    late_s = 1 + 3 + SKEW_S + 0.001
    assert moves(engine.handle(deaf.says(vip(LAN), advskew), late_s)) == [TOOK_OVER]


def test_vhost_rule_5_the_followed_master_itself_may_slow_down() -> None:
    engine, peer = backup(config(vip(LAN))), Sender()
    engine.handle(peer.says(vip(LAN), 0), 1.0)
    assert moves(engine.handle(peer.says(vip(LAN), 240), 1.5)) == [TOOK_OVER]


# ------------------------------------------------------------------------------ engine.py


def test_engine_rule_1_what_is_refused_moves_a_counter_and_nothing_else() -> None:
    """Rule 1: an authentic advert decides nothing about a VHID that is not ours; a packet that is
    refused moves a counter and nothing else."""
    engine = backup()
    deadline_s = engine.deadline_s
    assert engine.handle(Sender().leaves(vip(LAN._replace(vhid=99))), 1.0) == []
    assert (engine.counters[Reject.VHID], engine.deadline_s) == (1, deadline_s)


def test_engine_rule_2_demotion_is_advertised_on_all_links_at_once() -> None:
    """Rule 2: demotion is the node's: whatever happens on one interface is advertised on all, at
    once."""
    effects = master().handle(down("wan"), 0.5)
    assert [(a.vhid, a.advskew) for a in adverts(effects)] == [(LAN.vhid, 240)]


@pytest.mark.parametrize("advskew", [101, 240, 255], ids=["slower", "demoted", "leaving"])
def test_engine_rule_3_who_takes_one_takes_all(advskew: int) -> None:
    """Rule 3: who takes one VHID over from a master that is alive (slower, demoted, leaving) takes
    all: a group that is split between two nodes forwards nothing."""
    engine = backup()
    engine.handle(Sender().says(vip(WAN), advskew), 1.0)
    assert states(engine) == ALL_MASTER


def test_engine_rule_3_who_wins_a_conflict_takes_what_it_left_to_slower_masters() -> None:
    """Rule 3: Without preemption, who wins one from another master (a healed partition) takes
    those that it left to slower masters."""
    engine, peer = backup(config(preempt=False)), Sender()
    engine.handle(peer.says(vip(WAN), 200), 3.0)
    engine.handle(fx.Tick(), 3 + SKEW_S)  # lan was cut: nobody was heard there
    assert states(engine) == {LAN: State.MASTER, WAN: State.BACKUP}
    engine.handle(peer.says(vip(LAN), 200), 3.6)  # lan is whole again
    assert states(engine) == ALL_MASTER


def test_engine_rule_3_what_a_better_master_holds_is_left_to_it() -> None:
    engine, better, slower = backup(config(preempt=False)), Sender(host=3), Sender(host=4)
    engine.handle(better.says(vip(WAN), 0), 3.0)
    engine.handle(fx.Tick(), 3 + SKEW_S)
    engine.handle(slower.says(vip(LAN), 200), 3.6)
    assert states(engine) == {LAN: State.MASTER, WAN: State.BACKUP}


def test_engine_rule_4_leaving_is_make_before_break() -> None:
    """Rule 4: we own the addresses until a successor is heard, but at most for LEAVE_WAIT_S; a
    switchover that nobody answers is taken back."""
    engine = master(config(vip(LAN)))
    assert "ReleaseAddresses" not in kinds(engine.handle(fx.Stop(), 0.5))
    assert kinds(engine.handle(Sender().says(vip(LAN), 200), 0.51))[0] == "ReleaseAddresses"
    engine = master(config(vip(LAN)))
    engine.handle(fx.Switchover(), 0.5)
    effects = engine.handle(fx.Tick(), 0.5 + SWITCHOVER_WAIT_S)
    assert skews(effects) == [255, 100]
    assert states(engine) == {LAN: State.MASTER}


def test_engine_rule_5_one_working_gateway_wins_over_two_or_none() -> None:
    """Rule 5: when in doubt between two masters and none, one working gateway wins, and we say so.

    A peer that lacks an alias of ours cannot verify us, but we can verify it: we follow it."""
    engine = master(config(vip(LAN, extra=("10.1.0.101/24",))))
    effects = engine.handle(Sender().says(vip(LAN), 0), 0.5)
    assert moves(effects) == [YIELDED]
    assert notes(effects)[0][0] == "mismatch"


# ------------------------------------------------------------------------------ replay.py


def test_replay_rule_1_our_counter_grows_over_restarts() -> None:
    """Rule 1: our counter is derived from the time, so that it grows over restarts, and ends in a
    tag of the node."""
    first = CounterClock(START_US, 0.0, "fw1").next(60.0)
    second = CounterClock(START_US + 61_000_000, 0.0, "fw1").next(0.0)
    assert second > first
    assert second % 256 == first % 256 != CounterClock(START_US, 0.0, "fw2").next(0.0) % 256


def heard_for(seconds: int) -> tuple[fx.PacketReceived, Sender, list[Reject]]:
    """A peer's last advert, the peer, and what happens when the advert comes again."""
    engine, peer = backup(config(vip(LAN))), Sender()
    packets = [peer.says(vip(LAN), 0) for _ in range(seconds)]
    for second, packet in enumerate(packets):
        engine.handle(packet, float(second))
    engine.handle(packets[-1], seconds - 0.5)
    return packets[-1], peer, [reject for reject in Reject if engine.counters[reject]]


@pytest.mark.parametrize("seconds", [1, 2, 5])
def test_replay_rule_2_a_counter_that_stands_still_was_recorded(seconds: int) -> None:
    """Rule 2: a counter that stands still or goes back a little was recorded: chance does not do
    that."""
    assert heard_for(seconds)[2] == [Reject.REPLAY]


def test_replay_rule_2_a_proven_peer_may_not_go_back_at_all() -> None:
    """Rule 2: A peer whose counter was seen to grow in small steps is proven, and may not go back
    at all while it lives."""
    engine, peer = backup(config(vip(LAN))), Sender(counter=1 << 60)
    for second in range(5):
        engine.handle(peer.says(vip(LAN), 0), float(second))
    engine.handle(peer.says(vip(LAN), 0, counter=1), 4.5)
    assert engine.counters[Reject.REPLAY] == 1


def test_replay_rule_3_a_silent_peer_is_forgotten() -> None:
    """Rule 3: a peer lives until nothing of it was accepted for `lifetime_s` (the master-down
    interval): after that a lower counter is a restart."""
    engine, peer = backup(config(vip(LAN))), Sender(counter=1 << 60)
    for second in range(5):
        engine.handle(peer.says(vip(LAN), 0), float(second))
    engine.handle(peer.says(vip(LAN), 0, counter=1), 4 + 3 + SKEW_S + 0.01)
    assert engine.counters[Reject.REPLAY] == 0


def test_replay_rule_4_random_counters_are_accepted() -> None:
    """Rule 4: a peer with other habits (UCarp draws a random counter for each packet, BSD starts
    at a random one) never becomes proven, or is judged anew after its jump."""
    engine, peer = backup(config(vip(LAN))), Sender()
    for second in range(30):
        counter = (second + 1) * 0x9E3779B97F4A7C15 % 2**64
        engine.handle(peer.says(vip(LAN), 0, counter=counter), float(second))
    assert (engine.counters["accepted"], engine.counters[Reject.REPLAY]) == (30, 0)
