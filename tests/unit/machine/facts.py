"""Facts of a node with nothing wrong, for tests of the checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from carpool.machine.checkup import Judge
from carpool.machine.facts import Facts
from carpool.machine.hostchecks import ALL_RP_FILTER, EVENTS, FORWARD
from carpool.model.diagnosis import Diagnosis, Severity, Skipped
from carpool.model.facts import InterfaceFacts, NodeFacts, Unseen
from carpool.proto import ownrules
from carpool.proto.nftjson import Chain, Rule, Tables
from tests.unit.model.configs import config, masked

UNSEEN = Unseen("nobody has looked")
NODE_FACTS = NodeFacts(
    "1.0",
    "6.1.0",
    {
        "lan": InterfaceFacts("lan0", True, True, True, 1500, masked("10.10.1.2/24", "fe80::2/64")),
        "wan": InterfaceFacts("wan0", True, True, True, 1500, masked("10.10.2.2/24")),
        "sync": InterfaceFacts("sync0", True, True, True, 1500, masked("10.10.3.1/24")),
    },
    65536,
    100,
)
SETTINGS = {ALL_RP_FILTER: 0, EVENTS: 2, **dict.fromkeys(FORWARD.values(), 1)}
OURS = Chain(
    *("inet", "carpool_rules", "input"),
    rules=(Rule("inet", "carpool_rules", "input", 1, (), ownrules.mark(config())),),
)
FACTS = Facts(
    config(),
    NODE_FACTS,
    settings=SETTINGS,
    tables=Tables({("inet", "carpool_rules", "input"): OURS}),
    listeners=(),
    certificates=(),
    missing={},
    heard=(),
)


def facts(settings: dict[str, int] | None = None, **changes: Any) -> Facts:
    """The good ones, with other settings, or other parts."""
    return replace(FACTS, settings={**SETTINGS, **(settings or {})}, **changes)


def found(judge: Judge, seen: Facts = FACTS) -> list[Diagnosis]:
    return [one for one in judge(seen) if isinstance(one, Diagnosis)]


def skipped(judge: Judge, seen: Facts) -> list[str]:
    """Why it could not look."""
    return [one.why for one in judge(seen) if isinstance(one, Skipped)]


def severities(found: Sequence[Diagnosis]) -> list[Severity]:
    return [one.severity for one in found]


def without_config(seen: Facts = FACTS) -> Facts:
    return replace(seen, config=UNSEEN)
