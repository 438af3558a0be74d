"""What GET /v1/nodes answers of a pair, for tests of what is made of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

Told = dict[str, Any]


def node(name: str, peer: str, state: str, *, here: bool) -> Told:
    heard = None if state == "MASTER" else peer
    vhosts = [
        _vhost("lan", 51, state, heard and f"{heard} (10.10.1.2)", "10.10.1.1/24"),
        _vhost("wan", 52, state, heard and f"{heard} (10.10.2.2)", "10.10.2.100/24"),
    ]
    return {
        "name": name,
        "here": here,
        "age_s": 0.0,
        "address": "" if here else "10.10.3.3",
        "error": "",
        "hint": "",
        "version": "0.1.0",
        "kernel": "6.1.0-40-amd64",
        "system": "Debian GNU/Linux 12 (bookworm)",
        "uptime_s": 4000.0,
        "wall_time": "2026-11-23T18:20:57.008Z",
        "troubles": [],
        "failover": {
            "version": "0.1.0",
            "role": state,
            "summary": "master of all 2 VHIDs" if heard is None else f"backup, hearing {peer}",
            "preempt": True,
            "enabled": True,
            "maintenance": False,
            "advskew": 0,
            "effective_advskew": 0,
            "demotion": [],
            "interfaces": [
                {"interface": "lan", "device": "lan0", "ready": True, "reason": "up"},
                {"interface": "wan", "device": "wan0", "ready": True, "reason": "up"},
            ],
            "vhosts": vhosts,
            "change": None,
            "troubles": [],
        },
        "states": {
            "version": "0.1.0",
            "entries": 1204,
            "entries_max": 262144,
            "encryption": "tls",
            "hold": {"on": False, "reason": f"the table of {peer} is complete"},
            "troubles": [],
            "peers": [_peer(peer)],
        },
    }


def _vhost(interface: str, vhid: int, state: str, master: str | None, address: str) -> Told:
    return {
        "interface": interface,
        "vhid": vhid,
        "state": state,
        "since_s": 3720.0,
        "reason": f"{interface}: up",
        "addresses": [address],
        "master": master,
    }


def _peer(name: str) -> Told:
    return {
        "name": name,
        "address": "10.10.3.3",
        "connected": True,
        "since_s": 90.0,
        "entries": 1198,
        "entries_max": 262144,
        "errors": 0,
        "bulk": "complete",
        "sent_per_s": 12.5,
        "received_per_s": 0.0,
        "lag": {"p50_ms": 1.25, "p99_ms": 4.5, "samples": 80},
        "bulk_done": None,
        "bulk_total": None,
        "last_bulk": {"entries": 1100, "duration_s": 0.25, "ago_s": 88.0},
        "drift": {"missing": 0, "different": 0, "extra": 0, "ago_s": 12.0},
        "last_error": None,
    }


def pair() -> Told:
    """A healthy one, asked on the MASTER."""
    nodes = [node("fw1", "fw2", "MASTER", here=True), node("fw2", "fw1", "BACKUP", here=False)]
    return {"here": "fw1", "group": "edge", "nodes": nodes}


def silent(answer: Told, age_s: float | None = 14.0) -> Told:
    """The same when the second node says nothing any more."""
    answer = copy.deepcopy(answer)
    told = answer["nodes"][1]
    told.update(error="fw2 (10.10.3.3) has not answered", hint="is fw2 up?", age_s=age_s)
    if age_s is None:
        told.update(failover={}, states=None, version="", kernel="", system="", wall_time="")
    return answer


def with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """With every text of an answer changed."""
    if isinstance(value, dict):
        return {key: with_texts(one, change) for key, one in value.items()}
    if isinstance(value, list):
        return [with_texts(one, change) for one in value]
    return change(value) if isinstance(value, str) else value
