"""Out of the process, of CARP, or of the mastership: nobody is left without a gateway."""

from __future__ import annotations

import pytest

from carpool.machine import effects as fx
from carpool.machine.departure import LEAVE_WAIT_S, SWITCHOVER_WAIT_S
from carpool.machine.effects import State
from carpool.machine.vhost import LEAVE_EVERY_S
from carpool.model.config import Family
from tests.unit.machine.group import (
    ALL_BACKUP,
    ALL_DISABLED,
    ALL_INIT,
    ALL_MASTER,
    LAN,
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
    reasons,
    skews,
    states,
    up,
    vip,
)

# -------------------------------------------------------------------------- disable, enable


def test_disable_is_make_before_break() -> None:
    engine, peer = master(), Sender()
    effects = engine.handle(fx.SetDisabled(True), 0.5)
    assert kinds(effects) == ["SendAdvert", "SendAdvert"]
    assert all(advert.leaving for advert in adverts(effects))
    assert engine.deadline_s == 0.5 + LEAVE_EVERY_S
    effects = engine.handle(peer.says(vip(LAN), 200), 0.51)
    assert moves(effects) == [
        (LAN, State.MASTER, State.BACKUP),
        (LAN, State.BACKUP, State.DISABLED),
    ]
    effects = engine.handle(peer.says(vip(WAN), 200), 0.52)
    assert states(engine) == ALL_DISABLED
    assert {vhost.reason for vhost in engine.vhosts.values()} == {"disabled by an operator"}
    assert engine.deadline_s is None


def test_disable_without_a_successor_ends_after_the_wait() -> None:
    engine = master()
    engine.handle(fx.SetDisabled(True), 0.5)
    effects = engine.handle(fx.Tick(), 0.5 + LEAVE_WAIT_S)
    assert kinds(effects)[-4:] == ["ReleaseAddresses", "Transition"] * 2
    assert states(engine) == ALL_DISABLED


def test_disable_is_idempotent() -> None:
    engine = master()
    engine.handle(fx.SetDisabled(True), 0.5)
    assert engine.handle(fx.SetDisabled(True), 0.6) == []
    engine.handle(fx.Tick(), 1.0)
    assert engine.handle(fx.SetDisabled(True), 1.1) == []
    assert states(engine) == ALL_DISABLED


def test_a_disabled_node_hears_and_takes_nothing() -> None:
    engine, peer = backup(), Sender()
    engine.handle(fx.SetDisabled(True), 0.5)
    assert states(engine) == ALL_DISABLED
    assert engine.handle(peer.leaves(vip(LAN)), 0.6) == []
    engine.handle(down("lan"), 0.7)
    engine.handle(up("lan"), 0.8)
    engine.handle(fx.Tick(), 100.0)
    assert states(engine) == ALL_DISABLED


def test_enable_takes_part_again_and_is_idempotent() -> None:
    engine = backup()
    engine.handle(fx.SetDisabled(True), 0.5)
    assert moves(engine.handle(fx.SetDisabled(False), 2.0)) == [
        (LAN, State.DISABLED, State.BACKUP),
        (WAN, State.DISABLED, State.BACKUP),
    ]
    assert engine.deadline_s == 2.0 + 3 + 100 / 256
    assert engine.handle(fx.SetDisabled(False), 2.1) == []


def test_enable_while_leaving_takes_the_goodbye_back() -> None:
    engine, peer = master(), Sender()
    engine.handle(fx.SetDisabled(True), 0.5)
    engine.handle(peer.says(vip(LAN), 200), 0.51)
    effects = engine.handle(fx.SetDisabled(False), 0.52)
    assert skews(effects) == [100]
    assert states(engine) == {LAN: State.BACKUP, WAN: State.MASTER}


def test_enable_with_a_link_down_waits_for_the_link() -> None:
    engine = backup()
    engine.handle(fx.SetDisabled(True), 0.5)
    engine.handle(down("lan"), 0.6)
    engine.handle(fx.SetDisabled(False), 0.7)
    assert states(engine) == {LAN: State.INIT, WAN: State.BACKUP}


# ------------------------------------------------------------------------------------ stop


def test_stop_of_a_backup_is_immediate() -> None:
    engine = backup()
    effects = engine.handle(fx.Stop(), 0.5)
    assert kinds(effects) == ["ReleaseAddresses", "Transition"] * 2 + ["Stopped"]
    assert (states(engine), engine.deadline_s) == (ALL_INIT, None)


def test_stop_of_a_master_says_goodbye_until_a_successor_is_heard() -> None:
    engine, peer = master(), Sender()
    assert all(a.leaving for a in adverts(engine.handle(fx.Stop(), 0.5)))
    assert "Stopped" not in kinds(engine.handle(peer.says(vip(LAN), 200), 0.51))
    assert kinds(engine.handle(peer.says(vip(WAN), 200), 0.52))[-1] == "Stopped"


def test_stop_without_a_successor_says_goodbye_several_times_and_ends_in_time() -> None:
    engine = master()
    goodbyes = len(adverts(engine.handle(fx.Stop(), 0.5)))
    now_s, effects = 0.5, list[fx.Effect]()
    while states(engine) != ALL_INIT:
        assert engine.deadline_s is not None
        now_s = engine.deadline_s
        assert now_s <= 0.5 + LEAVE_WAIT_S
        effects = engine.handle(fx.Tick(), now_s)
        goodbyes += len(adverts(effects))
    assert now_s == 0.5 + LEAVE_WAIT_S
    assert goodbyes >= 2 * 6
    assert {vhost.reason for vhost in engine.vhosts.values()} == {"stopping"}
    assert kinds(effects)[-1] == "Stopped"


def test_a_leaver_does_not_preempt_its_successor() -> None:
    """With two families the successor's second advert came before all was handed over."""
    engine, peer = master(config(vip(LAN, "46"), vip(WAN, "46"), advskew=0)), Sender()
    engine.handle(fx.Stop(), 0.5)
    engine.handle(peer.says(vip(LAN, "46"), 100), 0.51)
    assert engine.handle(peer.says(vip(LAN, "46"), 100, family=Family.IPV6), 0.51) == []
    assert states(engine) == {LAN: State.INIT, WAN: State.MASTER}
    assert kinds(engine.handle(peer.says(vip(WAN, "46"), 100), 0.52))[-1] == "Stopped"


def test_stop_is_idempotent() -> None:
    engine = master()
    engine.handle(fx.Stop(), 0.5)
    assert engine.handle(fx.Stop(), 0.6) == []
    assert kinds(engine.handle(fx.Tick(), 0.5 + LEAVE_WAIT_S))[-1] == "Stopped"


@pytest.mark.parametrize("on", [True, False], ids=["disable", "enable"])
def test_nothing_holds_a_stop_back(on: bool) -> None:
    engine = master()
    engine.handle(fx.Stop(), 0.5)
    assert engine.handle(fx.SetDisabled(on), 0.6) == []
    assert kinds(engine.handle(fx.Tick(), 0.5 + LEAVE_WAIT_S))[-1] == "Stopped"


def test_stop_while_disabling_stops() -> None:
    engine = master()
    engine.handle(fx.SetDisabled(True), 0.5)
    engine.handle(fx.Stop(), 0.6)
    assert kinds(engine.handle(fx.Tick(), 0.6 + LEAVE_WAIT_S))[-1] == "Stopped"


def test_a_stopping_node_leaves_one_of_two_that_stop_at_once_to_nobody() -> None:
    """Both say goodbye; neither waits for the other longer than LEAVE_WAIT_S."""
    engine, peer = master(), Sender()
    engine.handle(fx.Stop(), 0.5)
    engine.handle(peer.leaves(vip(LAN)), 0.51)
    engine.handle(fx.Tick(), 0.5 + LEAVE_WAIT_S)
    assert states(engine) == ALL_INIT


# ------------------------------------------------------------------------------ switchover


def test_switchover_says_who_took_over_and_how_long_it_took() -> None:
    engine, peer = master(), Sender()
    effects = engine.handle(fx.Switchover(), 0.5)
    assert all(advert.leaving for advert in adverts(effects))
    assert fx.SwitchoverDone not in {type(e) for e in engine.handle(peer.says(vip(LAN), 150), 0.51)}
    effects = engine.handle(peer.says(vip(WAN), 150), 0.52)
    (done,) = [e for e in effects if isinstance(e, fx.SwitchoverDone)]
    assert (done.ok, round(done.took_s, 6)) == (True, 0.02)
    assert done.text == "fw2 took over"
    assert states(engine) == ALL_BACKUP


def test_after_a_switchover_the_better_node_does_not_take_back() -> None:
    engine, peer = master(), Sender()
    engine.handle(fx.Switchover(), 0.5)
    for second in range(10):
        for where in (vip(LAN), vip(WAN)):
            engine.handle(peer.says(where, 150), 0.51 + second)
    assert states(engine) == ALL_BACKUP
    assert reasons(engine) == ["switchover"]


def test_after_a_switchover_the_node_is_still_there_when_its_successor_dies() -> None:
    engine, peer = master(), Sender()
    engine.handle(fx.Switchover(), 0.5)
    for where in (vip(LAN), vip(WAN)):
        engine.handle(peer.says(where, 150), 0.51)
    assert engine.deadline_s == 0.51 + 3 + 240 / 256
    engine.handle(fx.Tick(), engine.deadline_s)
    assert (states(engine), reasons(engine)) == (ALL_MASTER, [])


def test_a_switchover_that_nobody_answers_is_taken_back() -> None:
    engine = master()
    engine.handle(fx.Switchover(), 0.5)
    effects = engine.handle(fx.Tick(), 0.5 + SWITCHOVER_WAIT_S)
    (done,) = [e for e in effects if isinstance(e, fx.SwitchoverDone)]
    assert not done.ok
    assert "nobody took over within 1.0 s; this node stays master" in done.text
    assert (states(engine), reasons(engine)) == (ALL_MASTER, [])
    assert skews(effects) == [255, 255, 100, 100]  # and never 240, which a peer would preempt
    assert notes(effects)[0] == ("demotion", "no longer demoted: switchover")


def test_switchover_on_a_backup_is_done_already() -> None:
    engine = backup()
    effects = engine.handle(fx.Switchover(), 0.5)
    assert effects == [
        fx.SwitchoverDone(True, 0.0, "this node is not master: nothing to give away")
    ]
    assert reasons(engine) == []


def test_a_second_switchover_is_refused_while_one_is_under_way() -> None:
    engine = master()
    engine.handle(fx.Switchover(), 0.5)
    (done,) = engine.handle(fx.Switchover(), 0.6)
    assert isinstance(done, fx.SwitchoverDone)
    assert not done.ok
    assert "busy with a switchover" in done.text


@pytest.mark.parametrize(
    ("command", "word"), [(fx.Stop(), "stop"), (fx.SetDisabled(True), "disable")]
)
def test_a_switchover_that_is_cut_short_is_answered_and_leaves_no_demotion(
    command: fx.Input, word: str
) -> None:
    engine = master()
    engine.handle(fx.Switchover(), 0.5)
    effects = engine.handle(command, 0.6)
    (done,) = [e for e in effects if isinstance(e, fx.SwitchoverDone)]
    assert (done.ok, done.text) == (False, f"cut short: this node was told to {word}")
    assert reasons(engine) == []
    assert [e for e in engine.handle(fx.Tick(), 2.0) if isinstance(e, fx.SwitchoverDone)] == []


def test_a_switchover_ended_by_a_stall_claims_no_successor() -> None:
    engine = master()
    engine.handle(fx.Switchover(), 0.5)
    effects = engine.handle(fx.Tick(), 10.0)
    (done,) = [e for e in effects if isinstance(e, fx.SwitchoverDone)]
    assert not done.ok
    assert states(engine) == ALL_BACKUP
    assert reasons(engine) == ["recent stall"]
