"""Who is told of what happens to the group: what alerts.toml says.

Room: model. Plain values. URLs hold passwords and tokens: they are in no `repr`, and whoever shows
one takes `machine/alerturl.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

ALERTS_FILE = "alerts.toml"  # in the configuration directory
TARGETS_MAX = 16
PER_HOUR, PER_HOUR_MAX = 6, 60
URL_MAX = 2048  # characters


class AlertKind(StrEnum):
    """What a message is about; the end of something is of the kind that it was."""

    FAILOVER = "failover"  # another node became MASTER
    OUTAGE = "outage"  # addresses that nobody serves
    SPLIT_BRAIN = "split-brain"  # addresses that two nodes serve
    STANDBY = "standby"  # a node that could not take over, or not so surely: silent, demoted
    REPLICATION = "replication"  # of the connections
    SYNC = "sync"  # of the configuration, by its schedule
    TROUBLE = "trouble"  # disks, certificates, files, versions


@dataclass(frozen=True, slots=True)
class Target:
    """Where messages go, in the words of Apprise, and which."""

    name: str
    url: str = field(repr=False)
    on: tuple[AlertKind, ...] = tuple(AlertKind)


@dataclass(frozen=True, slots=True)
class Alerts:
    targets: Mapping[str, Target] = field(default_factory=dict)
    per_hour: int = PER_HOUR  # messages about the same thing


class Level(StrEnum):
    """How a message is to look: the types of Apprise."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Message:
    kind: AlertKind | None  # None: a try, for whoever it is sent to
    level: Level
    title: str
    body: str
