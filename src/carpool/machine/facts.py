"""All that `carpool doctor` judges, of one node at one moment.

Room: machine. Values only; `api/hostfacts.py` and `cli/doctor.py` gather them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from carpool.model.config import Address, Config, Problem
from carpool.model.facts import Certificate, Heard, Link, Listener, NodeFacts, PeerFacts, Unseen
from carpool.proto.nftjson import Tables

_UNSEEN = Unseen("it was not looked at")


@dataclass(frozen=True, slots=True)
class Facts:
    """Unseen stands for what could not be looked at."""

    config: Config | Unseen
    node: NodeFacts
    now_s: float = 0.0  # seconds since 1970
    problems: tuple[Problem, ...] = ()  # of the files
    settings: Mapping[str, int] = field(default_factory=dict)  # by key; those that are there
    present: frozenset[Address] = frozenset()  # on any device of this node now, VIPs too
    tables: Tables | Unseen = _UNSEEN
    listeners: tuple[Listener, ...] | Unseen = _UNSEEN
    certificates: tuple[Certificate, ...] | Unseen = _UNSEEN
    missing: Mapping[str, str] | Unseen = _UNSEEN  # what the kernel has not, and what it says
    silent: Mapping[str, str] = field(default_factory=dict)  # processes that run not, and why
    running: Mapping[str, str] = field(default_factory=dict)  # versions of carpool by process
    refused: tuple[str, ...] = ()  # what failover asked of the kernel, and does without
    roles: Mapping[str, str] = field(default_factory=dict)  # by VIP (`51@lan`)
    peers: Mapping[str, PeerFacts | Unseen] = field(default_factory=dict)  # all of node.toml
    reached: Mapping[Link, str] = field(default_factory=dict)  # why not; "" if it answers
    passed: Mapping[Link, int | None] = field(default_factory=dict)  # bytes; None: no answer
    heard: tuple[Heard, ...] | Unseen = _UNSEEN
    peers_heard: Mapping[str, tuple[Heard, ...] | Unseen] = field(default_factory=dict)
    listened_s: float = 0.0
