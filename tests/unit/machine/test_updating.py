"""Whether a node may be updated, and whether it is back."""

from __future__ import annotations

from typing import Any

import pytest

from carpool.machine.updating import Before, Other, missing, named, refusal

KEY = "51@lan"


def failover(state: str, **more: object) -> dict[str, Any]:
    return {"vhosts": [{"vhid": 51, "interface": "lan", "state": state}], "version": "1", **more}


def other(state: str = "MASTER", *reasons: str) -> Other:
    return Other("fw1", failover(state, demotion=[{"reason": one} for one in reasons]))


def refused(own: dict[str, Any], *others: Other) -> tuple[str, str]:
    found = refusal("fw2", own, others)
    return ("", "") if found is None else (found.text, found.hint)


@pytest.mark.parametrize("own", [failover("BACKUP"), failover("INIT")])
def test_a_backup_with_a_healthy_master_may_be(own: dict[str, Any]) -> None:
    assert refused(own, other()) == ("", "")
    assert refused(own, other("MASTER", "switchover")) == ("", "")
    assert refused(own, Other("fw3", {}, "no answer"), other()) == ("", "")


def test_a_master_may_not() -> None:
    text, hint = refused(failover("MASTER"), other("BACKUP"))
    assert text.startswith("fw2 is MASTER of 51@lan") and "carpool maintenance on" in hint


@pytest.mark.parametrize(
    ("own", "others", "why"),
    [
        ({"error": "it does not run", "hint": "start it"}, [other()], "it does not run"),
        ({}, [other()], "it tells nothing"),
        (failover("BACKUP"), [], "no other node is MASTER of 51@lan"),
        (failover("BACKUP"), [other("BACKUP")], "no other node is MASTER"),
        (failover("BACKUP"), [Other("fw1", {}, "certificate")], "does not answer: certificate"),
        (failover("BACKUP"), [other("MASTER", "check:ping")], "not well (check:ping)"),
        (failover("BACKUP"), [other("MASTER", "maintenance")], "not well (maintenance)"),
    ],
)
def test_nor_one_that_may_be_needed(own: dict[str, Any], others: list[Other], why: str) -> None:
    text, hint = refused(own, *others)
    assert why in text and hint


BEFORE = Before({KEY: "BACKUP"}, ["dnsmasq"], ["fw1"])
STATES: dict[str, Any] = {"peers": [{"name": "fw1", "connected": True, "bulk": "complete"}]}


def lacks(own: dict[str, Any], states: dict[str, Any] | None, *services: str) -> str:
    return "; ".join(missing(BEFORE, own, states, services or ["dnsmasq"], "1"))


def test_who_is_back_lacks_nothing() -> None:
    assert lacks(failover("BACKUP"), STATES) == ""
    assert lacks(failover("BACKUP"), None) == ""


@pytest.mark.parametrize(
    ("own", "states", "why"),
    [
        ({"error": "no socket"}, STATES, "failover does not answer: no socket"),
        (failover("MASTER"), STATES, "it is MASTER of 51@lan"),
        (failover("INIT"), STATES, "it is INIT of 51@lan, and was BACKUP"),
        ({"vhosts": []}, STATES, "it is unknown of 51@lan"),
        (failover("BACKUP") | {"version": "0"}, STATES, "failover runs carpool 0, 1 is"),
        (failover("BACKUP"), {"error": "gone"}, "states does not answer: gone"),
        (failover("BACKUP"), {"peers": []}, "no stream of states with fw1: not connected"),
        (
            failover("BACKUP"),
            {"peers": [{"name": "fw1", "connected": True, "bulk": "receiving"}]},
            "not all connections of fw1",
        ),
        (failover("BACKUP"), STATES | {"hold": {"on": True, "reason": "bulk"}}, "yet: bulk"),
    ],
)
def test_what_is_missing_is_named(own: dict[str, Any], states: dict[str, Any], why: str) -> None:
    assert why in lacks(own, states)


def test_a_service_that_ran_is_missed() -> None:
    assert "service dnsmasq does not run" in lacks(failover("BACKUP"), STATES, "nginx")


def test_many_names_are_counted() -> None:
    assert named(["a", "b"]) == "a, b" and named(list("abcdef")) == "a, b, c, d and 2 more"
