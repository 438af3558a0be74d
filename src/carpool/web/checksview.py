"""The health checks of every node, and when each synchronises by itself.

Room: web. Pure: GET /v1/nodes in, rows out. It believes no answer, and what a node said before it
fell silent is marked as old.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich.text import Text

from carpool.api.render import Fields, duration, number_of, schedule
from carpool.web.groupview import Badge, entries_of, short_of, text_of

CHECKS_MAX = 100  # that are shown
NODES_MAX = 16


class Stand(NamedTuple):
    """A check on one node; `badge` None: that node has no such check."""

    badge: Badge | None
    since: str
    weight: str  # what it does to the demotion
    said: str
    old: bool


class Check(NamedTuple):
    name: str
    stands: Sequence[Stand]


class Scheduled(NamedTuple):
    node: str
    text: str


class Checks(NamedTuple):
    nodes: Sequence[str]
    checks: Sequence[Check]
    scheduled: Sequence[Scheduled]  # of nodes that have a schedule


def checks_of(answer: Fields) -> Checks:
    """Of the answer to GET /v1/nodes."""
    nodes = sorted(entries_of(answer, "nodes"), key=lambda node: text_of(node, "name"))[:NODES_MAX]
    by_node = [{text_of(row, "name"): row for row in entries_of(node, "checks")} for node in nodes]
    names = sorted({name for rows in by_node for name in rows})[:CHECKS_MAX]
    return Checks(
        [text_of(node, "name") for node in nodes],
        [
            Check(
                name,
                [_stand(rows.get(name), node) for rows, node in zip(by_node, nodes, strict=True)],
            )
            for name in names
        ],
        [
            Scheduled(text_of(node, "name"), _when(told))
            for node in nodes
            if isinstance(told := node.get("schedule"), Mapping) and not node.get("error")
        ],
    )


def _stand(row: Fields | None, node: Fields) -> Stand:
    old = bool(text_of(node, "error"))
    if row is None:
        return Stand(None, "", "", "", old)
    failing, weight = row.get("failing"), number_of(row, "weight")
    if not isinstance(failing, bool):
        return Stand(Badge("not decided yet", "calm"), "", "", text_of(row, "result"), old)
    since = duration(number_of(row, "for_s"))
    by = f"{weight:.0f}"
    if failing:
        demotes = f"demotes by {by}" if weight else "demotes nothing"
        said = text_of(row, "last_line") or text_of(row, "result")
        return Stand(Badge("fails", "bad"), since, demotes, said, old)
    demotes = f"would demote by {by}" if weight else "would demote nothing"
    # Its last run may have failed, too few in a row to count.
    failed = row.get("ok") is False
    said = f"the last run failed: {text_of(row, 'result')}" if failed else ""
    return Stand(Badge("passes", "warn" if failed else "good"), since, demotes, said, old)


def _when(told: Fields) -> str:
    """As `carpool status` says it."""
    line = schedule(told)
    return short_of(line.plain.removeprefix("Schedule: ")) if isinstance(line, Text) else ""
