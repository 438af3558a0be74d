"""What operators and the other processes may ask of the engine; each is idempotent."""

from __future__ import annotations

from carpool.machine import effects as fx
from carpool.machine.departure import SWITCHOVER_WAIT_S
from carpool.machine.effects import State
from carpool.machine.engine import (
    BULK_WAIT_S,
    RETRY_AFTER_S,
)
from tests.unit.machine.group import (
    ALL_BACKUP,
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
    vip,
)

# ----------------------------------------------------------------------------- maintenance


def test_maintenance_is_advertised_at_once_on_all_vhids() -> None:
    engine = master()
    effects = engine.handle(fx.SetMaintenance(True), 0.5)
    assert notes(effects) == [("demotion", "demoted: maintenance")]
    assert skews(effects) == [240, 240]
    assert states(engine) == ALL_MASTER
    assert engine.maintenance


def test_maintenance_is_idempotent() -> None:
    engine = master()
    engine.handle(fx.SetMaintenance(True), 0.5)
    assert engine.handle(fx.SetMaintenance(True), 0.6) == []
    assert skews(engine.handle(fx.SetMaintenance(False), 0.7)) == [100, 100]
    assert engine.handle(fx.SetMaintenance(False), 0.8) == []


def test_maintenance_tells_its_reason_until_it_is_given_another() -> None:
    engine = master()
    effects = engine.handle(fx.SetMaintenance(True, "new disk"), 0.5)
    assert fx.Note("demotion", "demoted: maintenance: new disk") in effects
    for said, shown in (("", "new disk"), ("new board", "new board")):
        assert engine.handle(fx.SetMaintenance(True, said), 0.6) == []
        assert [one.text for one in engine.demotion.reasons()] == [shown]
    engine.handle(fx.SetMaintenance(False), 0.7)
    engine.handle(fx.SetMaintenance(True), 0.8)
    assert [one.text for one in engine.demotion.reasons()] == [""], "of the time before"


def test_maintenance_over_a_restart() -> None:
    engine = backup(maintenance=True)
    assert reasons(engine) == ["maintenance"]
    assert engine.deadline_s == 3 + 240 / 256


def test_a_node_in_maintenance_gives_way_and_takes_back_afterwards() -> None:
    engine, peer = master(), Sender()
    engine.handle(fx.SetMaintenance(True), 0.5)
    effects = engine.handle(peer.says(vip(LAN), 150), 0.501)
    assert moves(effects) == [(LAN, State.MASTER, State.BACKUP)]
    engine.handle(peer.says(vip(WAN), 150), 0.502)
    assert states(engine) == ALL_BACKUP
    engine.handle(fx.SetMaintenance(False), 5.0)
    engine.handle(peer.says(vip(LAN), 150), 5.1)
    assert states(engine) == ALL_MASTER


# ------------------------------------------------------------------------------- bulk sync


def test_a_bulk_sync_holds_preemption_and_lets_go() -> None:
    engine, peer = backup(), Sender()
    effects = engine.handle(fx.SetBulkSync(True, "12 % of 40,000 states"), 0.5)
    assert notes(effects)[-1] == ("bulk", "12 % of 40,000 states")
    assert engine.handle(peer.says(vip(LAN), 200), 1.0) == []
    engine.handle(peer.says(vip(WAN), 200), 1.0)
    engine.handle(fx.SetBulkSync(False), 1.5)
    engine.handle(peer.says(vip(LAN), 200), 2.0)
    assert states(engine) == ALL_MASTER


def test_a_bulk_sync_holds_for_sixty_seconds_at_most() -> None:
    engine, peer = backup(), Sender()
    engine.handle(fx.SetBulkSync(True), 0.0)
    for second in range(1, 60):
        for where in (vip(LAN), vip(WAN)):
            assert engine.handle(peer.says(where, 200), float(second)) == []
    assert engine.deadline_s == BULK_WAIT_S
    effects = engine.handle(fx.Tick(), BULK_WAIT_S)
    assert notes(effects)[-1][0] == "bulk"
    assert "not complete after 60 s" in notes(effects)[-1][1]
    engine.handle(peer.says(vip(LAN), 200), 60.5)
    assert states(engine) == ALL_MASTER


def test_saying_again_that_a_bulk_runs_does_not_prolong_the_hold() -> None:
    engine, peer = backup(), Sender()
    engine.handle(fx.SetBulkSync(True), 0.0)
    for second in range(1, 60):
        engine.handle(fx.SetBulkSync(True), float(second))
        for where in (vip(LAN), vip(WAN)):
            engine.handle(peer.says(where, 200), float(second))
    engine.handle(fx.Tick(), BULK_WAIT_S)
    assert reasons(engine) == []


def test_a_bulk_sync_is_ignored_by_a_master() -> None:
    engine = master()
    assert engine.handle(fx.SetBulkSync(True), 0.5) == []
    assert reasons(engine) == []


def test_bulk_sync_is_idempotent() -> None:
    engine = backup()
    assert engine.handle(fx.SetBulkSync(False), 0.5) == []
    engine.handle(fx.SetBulkSync(True), 0.6)
    assert engine.handle(fx.SetBulkSync(True), 0.7) == []


def test_a_boot_that_awaits_its_table_holds_preemption_from_the_start() -> None:
    engine, peer = backup(await_bulk=True), Sender()
    assert reasons(engine) == ["bulk sync"]
    assert engine.handle(peer.says(vip(LAN), 200), 1.0) == []
    assert engine.deadline_s == 3 + 240 / 256  # wan, where nobody is heard


def test_a_node_that_is_alone_needs_no_table() -> None:
    engine = backup(await_bulk=True)
    effects = engine.handle(fx.Tick(), 3 + 240 / 256)
    assert (states(engine), reasons(engine)) == (ALL_MASTER, [])
    assert skews(effects)[-2:] == [100, 100]
    assert "nobody to take the table from" in notes(effects)[-1][1]


# ------------------------------------------------------------------------------- adoption


def test_adopted_addresses_are_handed_to_a_peer_and_not_taken_back_for_a_while() -> None:
    engine, peer = backup(config(advskew=0)), Sender()
    effects = engine.handle(fx.Adopt(frozenset({LAN, WAN})), 0.1)
    assert kinds(effects) == ["TakeAddresses", "SendAdvert", "Transition"] * 2
    assert all(advert.leaving for advert in adverts(effects))
    for where in (vip(LAN), vip(WAN)):
        engine.handle(peer.says(where, 100), 0.11)
    assert (states(engine), reasons(engine)) == (ALL_BACKUP, ["recent crash"])
    for second in range(1, 30):
        for where in (vip(LAN), vip(WAN)):
            assert engine.handle(peer.says(where, 100), float(second)) == []
    engine.handle(fx.Tick(), 0.1 + RETRY_AFTER_S)
    engine.handle(peer.says(vip(LAN), 100), 30.5)
    assert (states(engine), reasons(engine)) == (ALL_MASTER, [])


def test_adopted_addresses_are_kept_when_nobody_wants_them() -> None:
    engine = backup()
    engine.handle(fx.Adopt(frozenset({LAN, WAN})), 0.1)
    effects = engine.handle(fx.Tick(), 0.1 + SWITCHOVER_WAIT_S)
    assert (states(engine), reasons(engine)) == (ALL_MASTER, [])
    assert skews(effects) == [255, 255, 100, 100]
    assert "ReleaseAddresses" not in kinds(effects)


def test_nothing_to_adopt_changes_nothing() -> None:
    engine = backup()
    assert engine.handle(fx.Adopt(frozenset()), 0.1) == []
    engine.handle(down("lan"), 0.2)
    assert engine.handle(fx.Adopt(frozenset({LAN})), 0.3) == []
