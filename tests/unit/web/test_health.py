"""What pollers are told of a node: yes only where all that it rests on was told."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from carpool.web import health

NODE: dict[str, Any] = {
    "name": "fw2",
    "here": True,
    "error": "",
    "version": "1.0",
    "uptime_s": 12.5,
    "failover": {
        "ok": True,
        "role": "BACKUP",
        "enabled": True,
        "maintenance": False,
        "demotion": [],
        "vhosts": [
            {
                "interface": "lan",
                "vhid": 51,
                "state": "BACKUP",
                "since_s": 3.5,
                "addresses": ["10.1.0.1/24"],
                "mac": "virtual",
            }
        ],
        "troubles": [{"key": "a", "text": "lan0 is down"}],
    },
    "states": {
        "ok": True,
        "entries": 7,
        "hold": {"on": False, "reason": ""},
        "peers": [{"name": "fw1", "connected": True, "bulk": "complete"}],
        "troubles": [],
    },
    "troubles": [{"key": "clock", "text": "the clock says 1970"}],
}


def changed(**parts: Any) -> dict[str, Any]:
    """NODE with other values; `failover__role` is that of its failover."""
    node = copy.deepcopy(NODE)
    for key, value in parts.items():
        outer, _, inner = key.rpartition("__")
        (node[outer] if outer else node)[inner] = value
    return node


def test_a_backup_in_order_is_healthy_and_complete_and_no_master() -> None:
    assert not health.is_master(NODE)
    assert health.is_healthy(NODE)
    assert health.is_complete(NODE)


@pytest.mark.parametrize("role", ["BACKUP", "INIT", "DISABLED", "SPLIT", None])
def test_who_is_not_master_of_everything_is_no_master(role: str | None) -> None:
    assert not health.is_master(changed(failover__role=role))
    assert health.is_master(changed(failover__role="MASTER"))


@pytest.mark.parametrize(
    "parts",
    [
        {"failover__role": "INIT"},
        {"failover__role": "SPLIT"},
        {"failover__enabled": False},
        {"failover__maintenance": True},
        {"failover__demotion": [{"reason": "interface lan down"}]},
        {"failover__demotion": [{"reason": "switchover"}, {"reason": "maintenance"}]},
        {"failover": {"error": "no answer within 3 s", "hint": ""}},
        {"failover": None},
        {"states": {"error": "no answer within 3 s", "hint": ""}},
    ],
)
def test_what_could_not_serve_is_not_healthy(parts: dict[str, Any]) -> None:
    assert not health.is_healthy(changed(**parts))


def test_who_gave_the_mastership_away_is_healthy() -> None:
    assert health.is_healthy(changed(failover__demotion=[{"reason": "switchover"}]))


def test_without_replication_a_node_is_healthy_and_not_complete() -> None:
    node = changed(states=None)
    assert health.is_healthy(node)
    assert not health.is_complete(node)


@pytest.mark.parametrize(
    "parts",
    [
        {"states__peers": []},
        {"states__peers": [{"connected": False, "bulk": "complete"}]},
        {"states__peers": [{"connected": True, "bulk": "receiving"}]},
        {"states__peers": [*NODE["states"]["peers"], {"connected": True, "bulk": "idle"}]},
        {"states__hold": {"on": True, "reason": "bulk"}},
        {"states__hold": None},
        {"states": {"error": "no answer within 3 s", "hint": ""}},
    ],
)
def test_what_lacks_connections_is_not_complete(parts: dict[str, Any]) -> None:
    assert not health.is_complete(changed(**parts))


def test_the_summary_is_flat_for_who_is_asked_and_has_a_row_for_each() -> None:
    master = changed(name="fw1", here=False, failover__role="MASTER")
    found = health.summary({"here": "fw2", "group": "office", "nodes": [NODE, master]})
    own = {key: found[key] for key in ("node", "group", "role", "healthy", "complete")}
    assert own == {
        "node": "fw2",
        "group": "office",
        "role": "BACKUP",
        "healthy": True,
        "complete": True,
    }
    assert found["connections"] == 7
    assert found["troubles"] == ["lan0 is down", "the clock says 1970"]
    assert (found["masters"], found["silent"]) == (["fw1"], [])
    verdict = found["verdict"]
    assert isinstance(verdict, dict) and verdict["sentence"].startswith("The group ")
    assert verdict["level"] in ("good", "warn", "bad")
    rows = found["nodes"]
    assert isinstance(rows, list)
    assert [row["name"] for row in rows] == ["fw2", "fw1"]
    assert rows[0]["vips"][0] == {
        "interface": "lan",
        "vhid": 51,
        "state": "BACKUP",
        "since_s": 3.5,
        "addresses": ["10.1.0.1/24"],
    }


def test_what_a_silent_node_said_counts_for_nothing() -> None:
    silent = changed(
        name="fw1", here=False, failover__role="MASTER", error="fw1 has not answered for 2 s"
    )
    found = health.summary({"here": "fw2", "group": "office", "nodes": [NODE, silent]})
    assert (found["masters"], found["silent"]) == ([], ["fw1"])
    rows = found["nodes"]
    assert isinstance(rows, list)
    row = rows[1]
    assert (row["answers"], row["healthy"], row["complete"], row["role"]) == (
        *(False, False, False),
        None,
    )
    assert row["error"] == "fw1 has not answered for 2 s"
    assert row["vips"] == row["troubles"] == []


@pytest.mark.parametrize("odd", [{}, {"nodes": 3}, {"nodes": [None, {}, {"failover": 3}]}])
def test_an_odd_answer_is_no_reason_to_fail(odd: dict[str, Any]) -> None:
    assert health.summary(odd)["healthy"] in (None, False)
