"""What a BACKUP does when BFD found its master silent."""

from __future__ import annotations

import pytest

from carpool.machine import effects as fx
from carpool.machine.demotion import STALL
from carpool.machine.effects import State, Verdict
from carpool.machine.engine import Engine
from carpool.machine.stall import CLAIMS, fenced_at_s, watched_until
from tests.unit.machine.group import (
    ALL_BACKUP,
    ALL_MASTER,
    LAN,
    WAN,
    Sender,
    backup,
    down,
    kinds,
    master,
    notes,
    states,
    vip,
)


def following(host: int = 3) -> Engine:
    """A BACKUP that heard its master, fw2, at 10.0 on both links."""
    engine, fw2 = backup(now_s=9.0), Sender(host)
    for key in (LAN, WAN):
        engine.handle(fw2.says(vip(key)), 10.0)
    return engine


def silent(verdict: Verdict, interface: str = "lan", alive_s: float = 10.1) -> fx.Detected:
    return fx.Detected("fw2", interface, verdict, alive_s, "fw2 is silent")


@pytest.mark.parametrize("verdict", [Verdict.DEAD, Verdict.LINK, Verdict.RESET])
def test_who_follows_the_dead_one_takes_all_that_it_had_at_once(verdict: Verdict) -> None:
    engine = following()
    done = engine.handle(silent(verdict), 10.15)
    assert states(engine) == ALL_MASTER
    assert ("bfd", "fw2 is silent") in notes(done)
    assert kinds(done)[1:4] == ["TakeAddresses", "Announce", "SendAdvert"]
    assert engine.vhosts[LAN].reason == "BFD: fw2 is silent"
    assert engine.vhosts[WAN].reason == "moving with 51@lan: BFD: fw2 is silent"


@pytest.mark.parametrize("verdict", [Verdict.WELL, Verdict.ALONE])
def test_where_the_master_is_heard_elsewhere_adverts_stay_the_judge(verdict: Verdict) -> None:
    engine = following()
    before_s = engine.deadline_s
    assert notes(engine.handle(silent(verdict), 10.15)) == [("bfd", "fw2 is silent")]
    assert states(engine) == ALL_BACKUP
    assert engine.deadline_s == before_s


def test_an_advert_that_came_since_proves_that_it_lives() -> None:
    engine = following()
    engine.handle(Sender(counter=2_000_000).says(vip(LAN)), 10.14)
    assert engine.handle(silent(Verdict.DEAD), 10.15) == []
    assert states(engine) == ALL_BACKUP


def test_the_death_of_another_than_the_master_moves_nothing() -> None:
    engine = following(host=4)
    assert engine.handle(silent(Verdict.DEAD), 10.15) == []
    assert states(engine) == ALL_BACKUP


def test_a_master_has_nothing_to_take() -> None:
    engine = master(now_s=100.0)
    assert engine.handle(silent(Verdict.DEAD, alive_s=100.0), 100.1) == []


def test_who_has_a_fault_of_its_own_relieves_nobody_who_lives() -> None:
    engine = following()
    engine.handle(down("wan"), 10.1)
    engine.handle(silent(Verdict.LINK), 10.15)
    assert states(engine) == {LAN: State.BACKUP, WAN: State.INIT}
    engine.handle(silent(Verdict.DEAD), 10.16)
    assert states(engine) == {LAN: State.MASTER, WAN: State.INIT}


def test_who_leaves_takes_nothing() -> None:
    engine = following()
    engine.handle(fx.Stop(), 10.1)
    engine.handle(silent(Verdict.DEAD), 10.15)
    assert State.MASTER not in states(engine).values()


def test_a_master_that_peers_may_have_missed_gives_up_before_a_word_and_says_so() -> None:
    engine = master(now_s=100.0)
    engine.missed_at_s = 100.15
    assert fenced_at_s(engine) == 100.15
    assert engine.handle(fx.Tick(), 100.149) == []
    done = engine.handle(fx.Tick(), 100.15)
    assert states(engine) == ALL_BACKUP
    assert not any(isinstance(effect, CLAIMS) for effect in done)
    assert kinds(done)[-1] == "TellReset"
    assert STALL in engine.demotion


def test_a_backup_that_peers_may_have_missed_has_nothing_to_give_up() -> None:
    engine = following()
    engine.missed_at_s = 10.1
    assert engine.handle(fx.Tick(), 11.0) == []
    assert fenced_at_s(engine) is None


def test_what_who_was_missed_hears_on_waking_does_not_undo_it() -> None:
    engine = master(now_s=100.0)
    assert not watched_until(engine, 100.15, 100.0)
    assert watched_until(engine, None, 100.15)  # its peer says that the session is down
    assert engine.missed_at_s == 100.15
    engine.handle(fx.Tick(), 100.16)
    assert not watched_until(engine, None, 100.16)
    assert engine.missed_at_s is None
