"""What messages are made of, read out of answers of nodes."""

from __future__ import annotations

from collections.abc import Mapping

from carpool.machine.alerts import Vip
from carpool.machine.alertview import view_of, vips_of


def node(name: str, state: str, master: str = "", **more: object) -> Mapping[str, object]:
    vhosts = [
        {"vhid": 51, "interface": "lan", "state": state, "reason": "why", "master": master or None}
    ]
    failover = {"vhosts": vhosts, "interfaces": [], "demotion": [], **more}
    told: dict[str, object] = {
        "name": name,
        "version": "1",
        "failover": failover,
        "states": None,
        "troubles": [],
    }
    return {**told, "error": "", "hint": ""}


def gone(name: str) -> Mapping[str, object]:
    return {"name": name, "failover": {}, "error": "timeout", "hint": "", "version": ""}


def test_the_master_tells_and_of_several_the_first() -> None:
    fw1, fw2 = node("fw1", "BACKUP", "fw2 (10.1.0.3)"), node("fw2", "MASTER")
    assert not view_of([fw1, fw2]).tells and view_of([fw2, fw1]).tells
    assert view_of([node("fw1", "MASTER"), fw2]).tells
    assert not view_of([fw2, node("fw1", "MASTER")]).tells
    assert view_of([fw1, gone("fw2")]).tells  # it is heard, and nobody knows whether it tells
    assert view_of([node("fw1", "INIT"), node("fw2", "INIT")]).tells


def test_who_is_in_maintenance_and_who_is_silent() -> None:
    demotion = [{"reason": "maintenance", "weight": 240, "text": "new disk"}]
    fw1 = node("fw1", "BACKUP", maintenance=True, demotion=demotion)
    found = view_of([node("fw2", "MASTER"), fw1, gone("fw3")], "failed: why")
    assert found.maintenance == {"fw1": "new disk"}
    assert found.silent == {"fw3"} and found.sync_failed == "failed: why"


def test_answers_that_make_no_sense_are_nothing() -> None:
    assert vips_of({"vhosts": "many"}) == {} and vips_of({}) == {}
    assert vips_of(node("x", "MASTER")["failover"]) == {"51@lan": Vip("MASTER", "why")}  # type: ignore[arg-type]
    odd: Mapping[str, object] = {"name": 3, "failover": [], "error": ""}
    assert view_of([odd]).maintenance == {}
