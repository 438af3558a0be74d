"""Which nodes go by an older group.toml than another one, by what each says of itself.

Room: machine. Pure. A node that took up another file remembers those before until all nodes have
the new one (`regroup.py`): whose file is among these is behind. Believes no answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

Fields = Mapping[str, object]


class Behind(NamedTuple):
    """Names of nodes."""

    older: str
    newer: str
    leads: bool  # the older one is MASTER of something: it takes the file over, by itself


def digests(nodes: Sequence[Fields]) -> dict[str, str]:
    """By name, of those that answer and say it."""
    found = {_text(node, "name"): _text(_failover(node), "group_digest") for node in nodes}
    return {name: digest for name, digest in found.items() if digest}


def behind(nodes: Sequence[Fields]) -> Iterator[Behind]:
    """Of the `nodes` that GET /v1/nodes answers. Two that each say so of the other were edited by
    hand: then neither is older."""
    known = digests(nodes)
    before = {_text(node, "name"): _older(node) for node in nodes}
    for node in nodes:
        name = _text(node, "name")
        for other, digest in known.items():
            mutual = known.get(name) in before.get(other, ())
            if other != name and digest in before[name] and name in known and not mutual:
                yield Behind(other, name, _leads(nodes, other))


def _older(node: Fields) -> tuple[str, ...]:
    change = _failover(node).get("change")
    told = change.get("older") if isinstance(change, Mapping) else None
    return tuple(one for one in told if isinstance(one, str)) if isinstance(told, list) else ()


def _leads(nodes: Sequence[Fields], name: str) -> bool:
    rows = (_failover(node).get("vhosts") for node in nodes if _text(node, "name") == name)
    return any(
        isinstance(row, Mapping) and row.get("state") == "MASTER"
        for told in rows
        for row in (told if isinstance(told, list) else ())
    )


def _failover(node: Fields) -> Fields:
    """Nothing of one that fell silent."""
    told = node.get("failover")
    return told if isinstance(told, Mapping) and not node.get("error") else {}


def _text(fields: Fields, key: str) -> str:
    value = fields.get(key)
    return value if isinstance(value, str) else ""
