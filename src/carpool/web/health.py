"""What load balancers and pollers are told of a node: yes or no, and a few values by name.

Room: web. Pure: what nodes say of themselves in (agent/nodes.py), believed where it is of the kind
that is expected; refuses to know HTTP. docs/monitoring.md lists all of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from carpool.api.render import Fields, entries_of
from carpool.machine.demotion import SWITCHOVER
from carpool.machine.verdict import judge

VERSION = 1  # of status.json: one more when a key goes or means something else
MASTER, BACKUP = "MASTER", "BACKUP"
COMPLETE = "complete"


def is_master(node: Fields) -> bool:
    """Of all its VIPs."""
    return _part(node, "failover").get("role") == MASTER


def is_healthy(node: Fields) -> bool:
    """Whether it serves its VIPs or could take them at once: what runs answers, every link of a VIP
    is there, nobody has taken the node out, and nothing demotes it. One that was told to give the
    mastership away (`carpool switchover`) is healthy."""
    failover = _part(node, "failover")
    reasons = {row.get("reason") for row in entries_of(failover, "demotion")}
    return (
        failover.get("role") in (MASTER, BACKUP)
        and failover.get("enabled") is True
        and failover.get("maintenance") is False
        and not reasons - {SWITCHOVER}
        and (node.get("states") is None or _part(node, "states").get("ok") is True)
    )


def is_complete(node: Fields) -> bool:
    """Whether it has all connections of all its peers: a move to it loses none."""
    states = _part(node, "states")
    peers = entries_of(states, "peers")
    return (
        bool(peers)
        and _part(states, "hold").get("on") is False
        and all(row.get("connected") is True and row.get("bulk") == COMPLETE for row in peers)
    )


def summary(group: Fields) -> dict[str, object]:
    """Of GET /v1/nodes: flat for the node that is asked, then a row for each."""
    rows = [_row(node) for node in entries_of(group, "nodes")]
    own = next((row for row in rows if row["here"]), {})
    verdict = judge(entries_of(group, "nodes"))
    keys = ("role", "healthy", "complete", "maintenance", "demotion", "connections", "troubles")
    return {
        "version": VERSION,
        "node": group.get("here"),
        "group": group.get("group"),
        **{key: own.get(key) for key in keys},
        "verdict": {"level": verdict.level, "sentence": verdict.sentence},
        "silent": [row["name"] for row in rows if not row["answers"]],
        "masters": [row["name"] for row in rows if row["role"] == MASTER],
        "nodes": rows,
    }


def _row(node: Fields) -> dict[str, object]:
    """What a silent node said before it fell silent counts for nothing."""
    answers = not node.get("error")
    told: Fields = node if answers else {}
    failover, states = _part(told, "failover"), _part(told, "states")
    troubles = [*entries_of(failover, "troubles"), *entries_of(states, "troubles")]
    return {
        "name": node.get("name"),
        "here": node.get("here") is True,
        "answers": answers,
        "error": node.get("error") or _part(told, "failover").get("error") or "",
        "role": failover.get("role"),
        "healthy": answers and is_healthy(told),
        "complete": answers and is_complete(told),
        "maintenance": failover.get("maintenance"),
        "demotion": [row.get("reason") for row in entries_of(failover, "demotion")],
        "connections": states.get("entries"),
        "troubles": [row.get("text") for row in (*troubles, *entries_of(told, "troubles"))],
        "version": told.get("version"),
        "uptime_s": told.get("uptime_s"),
        "vips": [_vip(row) for row in entries_of(failover, "vhosts")],
    }


def _vip(row: Fields) -> dict[str, object]:
    return {key: row.get(key) for key in ("interface", "vhid", "state", "since_s", "addresses")}


def _part(fields: Fields, key: str) -> Fields:
    value = fields.get(key)
    return value if isinstance(value, Mapping) else {}
