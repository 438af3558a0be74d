"""Failing checks as reasons of demotion, for as long as the agent says so."""

from __future__ import annotations

import pytest

from carpool.machine import effects as fx
from carpool.machine.checklease import rank_of
from carpool.machine.demotion import Rank
from carpool.machine.effects import FailingCheck, Note, SendAdvert, SetChecks
from carpool.machine.engine import Engine
from tests.unit.machine.group import config, up

DISK = FailingCheck("disk", 240, "/var is full")
PING = FailingCheck("ping", 30, "no answer")


@pytest.fixture
def engine() -> Engine:
    """MASTER of both since 10."""
    made = Engine(config(advskew=10), now_s=0.0, counter_start_us=1)
    for interface in ("lan", "wan"):
        made.handle(up(interface), 0.0)
    made.handle(fx.Tick(), 10.0)
    assert made.is_master
    return made


def reasons(engine: Engine) -> dict[str, tuple[int, str]]:
    return {one.reason: (one.weight, one.text) for one in engine.demotion.reasons()}


def notes(effects: list[fx.Effect]) -> list[str]:
    return [one.text for one in effects if isinstance(one, Note)]


def test_what_is_said_last_is_what_holds(engine: Engine) -> None:
    done = engine.handle(SetChecks((DISK, PING), 20.0), 11.0)
    assert reasons(engine) == {"check disk": (240, "/var is full"), "check ping": (30, "no answer")}
    assert notes(done) == ["demoted: check disk: /var is full", "demoted: check ping: no answer"]
    assert any(isinstance(one, SendAdvert) for one in done), "peers hear of it at once"
    done = engine.handle(SetChecks((PING,), 20.0), 12.0)
    assert notes(done) == ["no longer demoted: check disk"]
    assert engine.status(12.0).effective_advskew == 40
    assert notes(engine.handle(SetChecks((), 20.0), 12.5)) == ["no longer demoted: check ping"]
    assert reasons(engine) == {}
    assert engine.checks_until_s is None


def test_other_words_are_no_news_and_another_weight_is(engine: Engine) -> None:
    engine.handle(SetChecks((PING,), 20.0), 11.0)
    assert engine.handle(SetChecks((FailingCheck("ping", 30, "none"),), 20.0), 12.0) == []
    assert reasons(engine) == {"check ping": (30, "none")}
    done = engine.handle(SetChecks((FailingCheck("ping", 50, "none"),), 20.0), 12.0)
    assert any(isinstance(one, SendAdvert) for one in done)
    assert engine.status(12.0).effective_advskew == 60


def test_what_nobody_says_again_is_forgotten(engine: Engine) -> None:
    engine.handle(SetChecks((DISK,), 20.0), 11.0)
    engine.handle(SetChecks((DISK,), 20.0), 12.0)
    for half_s in range(25, 64):
        assert notes(engine.handle(fx.Tick(), half_s / 2)) == []
    assert engine.deadline_s is not None
    assert engine.deadline_s <= 32.0
    gone, told = notes(engine.handle(fx.Tick(), 32.0))
    assert gone == "no longer demoted: check disk"
    assert told.startswith("check disk is forgotten: the agent has not said so again")
    assert reasons(engine) == {}
    assert notes(engine.handle(fx.Tick(), 33.0)) == []


def test_other_reasons_stay_as_they_are(engine: Engine) -> None:
    engine.handle(fx.SetMaintenance(True), 11.0)
    engine.handle(SetChecks((DISK,), 20.0), 11.0)
    assert set(reasons(engine)) == {"maintenance", "check disk"}
    engine.handle(SetChecks((), 20.0), 12.0)
    assert set(reasons(engine)) == {"maintenance"}


def test_ranks_are_in_proportion() -> None:
    assert rank_of(240) == Rank.SEND_ERRORS
    assert rank_of(1) == 1
    assert rank_of(240) > Rank.MAINTENANCE + Rank.BULK_SYNC
