"""What an agent tells of the nodes of a group."""

from __future__ import annotations

from typing import Any


def node(name: str = "fw1", state: str = "MASTER", **more: Any) -> dict[str, Any]:
    """As in `GET /v1/nodes`; `more` goes to what its failover process tells."""
    advskew = more.pop("advskew", 0)
    vip = {
        "state": state,
        "since_s": 75.0,
        "reason": "no advertisement for 3.00 s",
        "addresses": ["10.10.1.1/24", "fd00:10:1::1/64"],
        "advbase_s": 1,
        "advskew": more.get("effective_advskew", advskew),
        "mac": "virtual",
        "transport": "multicast",
        "master": None if state == "MASTER" else "fw9 (10.10.1.9)",
    }
    vhosts = [{**vip, "interface": "lan", "vhid": 51}, {**vip, "interface": "wan", "vhid": 52}]
    failover = {
        "node": name,
        "summary": f"{state.lower()} of it",
        "preempt": True,
        "enabled": True,
        "maintenance": False,
        "advskew": advskew,
        "effective_advskew": advskew,
        "demotion": [],
        "vhosts": vhosts,
    }
    told = {"name": name, "here": name == "fw1", "error": "", "hint": "", "age_s": 0.0}
    return {**told, "failover": {**failover, **more}}


def maintained(name: str, state: str, text: str = "") -> dict[str, Any]:
    demotion = [{"reason": "maintenance", "weight": 240, "text": text}]
    return node(name, state, maintenance=True, effective_advskew=240, demotion=demotion)


def gone(name: str, state: str = "BACKUP") -> dict[str, Any]:
    """It said that before."""
    why = {"error": f"the agent of {name} has not answered in time", "hint": f"is {name} up?"}
    return {**node(name, state), **why}


def group(*nodes: dict[str, Any]) -> dict[str, Any]:
    return {"here": "fw1", "group": "test", "nodes": list(nodes)}


def pair() -> dict[str, Any]:
    return group(node("fw1"), node("fw2", "BACKUP", advskew=100))
