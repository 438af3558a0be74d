"""Rulesets as `nft -j` prints them, in few words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from carpool.proto.nftjson import Tables, parse

Expression = dict[str, Any]
ACCEPT: Expression = {"accept": None}
DROP: Expression = {"drop": None}


def meta(key: str, right: object, op: str = "==") -> Expression:
    return {"match": {"op": op, "left": {"meta": {"key": key}}, "right": right}}


def payload(protocol: str, field: str, right: object, op: str = "==") -> Expression:
    left = {"payload": {"protocol": protocol, "field": field}}
    return {"match": {"op": op, "left": left, "right": right}}


def state(*names: str) -> Expression:
    return {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": list(names)}}


def prefix(text: str) -> Expression:
    address, _, length = text.partition("/")
    return {"prefix": {"addr": address, "len": int(length)}}


def jump(target: str) -> Expression:
    return {"jump": {"target": target}}


def chain(
    *rules: Sequence[Expression],
    name: str = "input",
    hook: str = "input",
    policy: str = "accept",
    family: str = "inet",
    priority: int = 0,
    type_: str = "filter",
) -> list[Expression]:
    """A chain and its rules; without a hook, one to jump to."""
    place = {"family": family, "table": "t"}
    head: Expression = {**place, "name": name}
    if hook:
        head |= {"type": type_, "hook": hook, "prio": priority, "policy": policy}
    made: list[Expression] = [{"chain": head}]
    for handle, expressions in enumerate(rules, 1):
        rule = {**place, "chain": name, "handle": handle, "expr": list(expressions)}
        made.append({"rule": rule})
    return made


def tables(*chains: list[Expression]) -> Tables:
    listed: list[Expression] = [{"metainfo": {"version": "1.0.6"}}]
    found = parse(json.dumps({"nftables": sum(chains, listed)}))
    assert found is not None
    return found


def nat(*rules: Sequence[Expression], family: str = "ip") -> Tables:
    """Rules of source NAT."""
    made = chain(*rules, name="post", hook="postrouting", family=family, type_="nat")
    return tables(made)


def snat(address: object) -> Expression:
    return {"snat": {"addr": address}}
