"""What `nft -j list ruleset` prints, as chains and rules (libnftables-json(5)).

Room: proto. Keeps the expressions of rules as they came; refuses to know what they do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Json = Mapping[str, object]
ChainKey = tuple[str, str, str]  # family, table, name


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; `handle` is the number by which nft names it."""

    family: str
    table: str
    chain: str
    handle: int
    expressions: tuple[Json, ...]
    comment: str = ""

    @property
    def place(self) -> str:
        return f"rule {self.handle} of chain {self.chain}, table {self.family} {self.table}"


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain; one that packets come to by themselves has a hook."""

    family: str
    table: str
    name: str
    type: str = ""  # filter, nat, route
    hook: str = ""
    priority: int = 0
    policy: str = "accept"
    devices: tuple[str, ...] = ()  # of netdev chains; nft 1.0.6 tells none of an egress hook
    rules: tuple[Rule, ...] = ()

    @property
    def place(self) -> str:
        return f"chain {self.name}, table {self.family} {self.table}"


@dataclass(frozen=True, slots=True)
class Tables:
    """All that is loaded, as far as it decides about packets."""

    chains: Mapping[ChainKey, Chain]
    flowtables: tuple[str, ...] = ()  # "inet filter f"

    def hooked(self, hook: str, families: Sequence[str], type_: str) -> list[Chain]:
        """The chains of a hook and of these families, in the order in which packets see them."""
        found = (
            chain
            for chain in self.chains.values()
            if (chain.hook, chain.type) == (hook, type_) and chain.family in families
        )
        return sorted(found, key=lambda chain: chain.priority)


def parse(text: str) -> Tables | None:
    """The tables; None for what is no such listing. What is not understood is left out."""
    try:
        listed = json.loads(text)["nftables"]
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(listed, list):
        return None
    rules: dict[ChainKey, list[Rule]] = {}
    chains: list[Json] = []
    flowtables: list[str] = []
    for item in listed:
        if not isinstance(item, dict):
            continue
        if isinstance(rule := item.get("rule"), dict):
            made = _rule(rule)
            rules.setdefault((made.family, made.table, made.chain), []).append(made)
        elif isinstance(chain := item.get("chain"), dict):
            chains.append(chain)
        elif isinstance(flow := item.get("flowtable"), dict):
            flowtables.append(" ".join(_text(flow, key) for key in ("family", "table", "name")))
    found = (_chain(chain, rules) for chain in chains)
    return Tables({(one.family, one.table, one.name): one for one in found}, tuple(flowtables))


def _rule(found: Json) -> Rule:
    expressions = found.get("expr")
    listed = expressions if isinstance(expressions, list) else []
    return Rule(
        _text(found, "family"),
        _text(found, "table"),
        _text(found, "chain"),
        _number(found, "handle"),
        tuple(one for one in listed if isinstance(one, dict)),
        _text(found, "comment"),
    )


def _chain(found: Json, rules: Mapping[ChainKey, Sequence[Rule]]) -> Chain:
    key = _text(found, "family"), _text(found, "table"), _text(found, "name")
    device = found.get("dev", ())
    return Chain(
        *key,
        type=_text(found, "type"),
        hook=_text(found, "hook"),
        priority=_number(found, "prio"),
        policy=_text(found, "policy") or "accept",
        devices=tuple(map(str, device)) if isinstance(device, list | tuple) else (str(device),),
        rules=tuple(rules.get(key, ())),
    )


def _text(found: Json, key: str) -> str:
    value = found.get(key, "")
    return value if isinstance(value, str) else ""


def _number(found: Json, key: str) -> int:
    value = found.get(key, 0)
    return value if isinstance(value, int) else 0
