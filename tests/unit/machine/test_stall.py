"""A process that stood still, a machine that was suspended: what the engine says and does first."""

from __future__ import annotations

from carpool.machine import effects as fx
from carpool.machine.demotion import STALL
from carpool.machine.stall import CLAIMS, RETRY_AFTER_S, fenced_at_s, is_too_late
from carpool.machine.vhost import ADDRESS_LIFETIME_S
from tests.unit.machine.group import (
    ALL_BACKUP,
    ALL_MASTER,
    LAN,
    WAN,
    Sender,
    backup,
    master,
    states,
    vip,
)

DOWN_S = 3 + 100 / 256


def test_a_master_that_did_nothing_for_too_long_gives_all_up_before_a_word() -> None:
    engine = master(now_s=100.0)
    at_s = fenced_at_s(engine)
    assert at_s is not None and 100.0 < at_s <= 100.0 + ADDRESS_LIFETIME_S
    effects = engine.handle(fx.Tick(), at_s)
    assert states(engine) == ALL_BACKUP
    assert [e.key for e in effects if isinstance(e, fx.ReleaseAddresses)] == [LAN, WAN]
    assert not any(isinstance(e, CLAIMS) for e in effects)
    assert "stall" in {e.kind for e in effects if isinstance(e, fx.Note)}
    assert engine.counters["stalls"] == 1
    assert fenced_at_s(engine) is None


def test_a_moment_earlier_nothing_is_wrong() -> None:
    engine = master(now_s=100.0)
    at_s = fenced_at_s(engine)
    assert at_s is not None
    engine.handle(fx.Tick(), at_s - 0.001)
    assert states(engine) == ALL_MASTER
    assert engine.counters["stalls"] == 0


def test_who_slept_does_not_compete_for_a_while() -> None:
    engine = master(now_s=100.0)
    engine.handle(fx.Tick(), 110.0)
    assert STALL in engine.demotion
    assert engine.deadline_s == 110.0 + 3 + 240 / 256
    engine.handle(fx.Tick(), 110.0 + RETRY_AFTER_S)
    assert STALL not in engine.demotion


def test_a_mastership_that_nobody_else_wants_ends_that() -> None:
    engine = master(now_s=100.0)
    engine.handle(fx.Tick(), 110.0)
    assert engine.deadline_s is not None
    engine.handle(fx.Tick(), engine.deadline_s)
    assert states(engine) == ALL_MASTER
    assert STALL not in engine.demotion
    assert engine.retry_s == {}


def test_a_backup_of_a_machine_that_was_suspended_listens_before_it_takes_over() -> None:
    engine = backup(now_s=0.0)
    effects = engine.handle(fx.Resumed(3600.0), 3600.0)
    assert [e.text for e in effects if isinstance(e, fx.Note)] == [
        "this machine was suspended for 3600.0 s: it listens before it takes over"
    ]
    engine.handle(fx.Tick(), 3600.0)
    assert states(engine) == ALL_BACKUP
    assert engine.deadline_s == 3600.0 + DOWN_S
    assert engine.counters["suspensions"] == 1


def test_a_master_of_a_machine_that_was_suspended_gives_up() -> None:
    engine = master(now_s=100.0)
    effects = engine.handle(fx.Resumed(60.0), 160.0)
    assert states(engine) == ALL_BACKUP
    assert not any(isinstance(e, CLAIMS) for e in effects)


def test_what_claims_an_address_is_left_out_when_the_process_was_stopped_before_it() -> None:
    """Stopped between the take-over and its frames: nobody knows who is master now."""
    engine = backup()
    assert engine.deadline_s is not None
    at_s = engine.deadline_s
    effects = engine.handle(fx.Tick(), at_s)
    claims = [effect for effect in effects if isinstance(effect, CLAIMS)]
    assert claims and not any(is_too_late(engine, e, at_s, at_s + 2.9) for e in effects)
    late = [effect for effect in effects if is_too_late(engine, effect, at_s, at_s + 10.0)]
    assert late == claims
    # And the Tick that the service puts then gives up what was never had.
    assert states(engine) == ALL_MASTER
    engine.handle(fx.Tick(), at_s + 10.0)
    assert states(engine) == ALL_BACKUP


def test_last_words_are_not_said_late_and_releases_always_are() -> None:
    engine = master(now_s=100.0)
    effects = engine.handle(Sender().says(vip(LAN), 0), 100.5)
    effects += engine.handle(Sender().says(vip(WAN), 0), 100.5)
    words = [effect for effect in effects if isinstance(effect, fx.SendAdvert)]
    assert states(engine) == ALL_BACKUP and words
    assert all(is_too_late(engine, word, 100.5, 110.0) for word in words)
    released = [effect for effect in effects if isinstance(effect, fx.ReleaseAddresses)]
    assert released and not any(is_too_late(engine, one, 100.5, 110.0) for one in released)
