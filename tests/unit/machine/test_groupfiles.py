"""Which node has the older group.toml."""

from __future__ import annotations

from typing import Any

from carpool.machine.groupfiles import Behind, behind, digests


def node(name: str, digest: str, *older: str, state: str = "BACKUP", **more: Any) -> dict[str, Any]:
    change = {"older": list(older)} if older else None
    vhosts = [{"vhid": 51, "interface": "lan", "state": state}]
    failover = {"group_digest": digest, "change": change, "vhosts": vhosts}
    return {"name": name, "error": "", "failover": failover, **more}


def test_whose_file_another_one_had_before_is_behind() -> None:
    nodes = [node("fw1", "c", "b", "a", state="MASTER"), node("fw2", "a"), node("fw3", "c")]
    assert list(behind(nodes)) == [Behind("fw2", "fw1", leads=False)]
    assert digests(nodes) == {"fw1": "c", "fw2": "a", "fw3": "c"}


def test_one_that_is_behind_may_be_master() -> None:
    nodes = [node("fw1", "a", state="MASTER"), node("fw2", "b", "a")]
    assert list(behind(nodes)) == [Behind("fw1", "fw2", leads=True)]


def test_where_it_is_not_known_nothing_is_told() -> None:
    silent = node("fw2", "a", error="no answer")
    assert list(behind([node("fw1", "b", "a"), silent])) == []
    assert list(behind([node("fw1", "b", "x"), node("fw2", "a")])) == []
    both = [node("fw1", "b", "a"), node("fw2", "a", "b")]
    assert list(behind(both)) == []
    assert list(behind([node("fw1", "b"), node("fw2", "b")])) == []


def test_no_answer_is_believed() -> None:
    odd: list[dict[str, Any]] = [
        {},
        {"name": 3, "failover": []},
        node("fw1", "b", "a") | {"failover": {"group_digest": 3, "change": {"older": 7}}},
        {"name": "fw2", "failover": {"group_digest": "a", "change": [], "vhosts": [3]}},
        {"name": "fw3", "failover": {"group_digest": "b", "change": {"older": ["a", 3]}}},
    ]
    assert list(behind(odd)) == [Behind("fw2", "fw3", leads=False)]
