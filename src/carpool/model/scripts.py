"""Programs of the operator that the agent runs: hooks on transitions, checks at an interval.

Room: model. Values only; `api/settingscripts.py` reads them from group.toml.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

HOOKS_DIR, CHECKS_DIR = "hooks.d", "checks.d"  # in the configuration directory
NAME_MAX = 64
WEIGHT_MAX = 240  # of a check; what every other reason of demotion weighs
NAME_RULE = f"1 to {NAME_MAX} of A-Z, a-z, 0-9, _ and -, as run-parts(8) has it"
_NAME = re.compile(rf"[A-Za-z0-9_-]{{1,{NAME_MAX}}}")


class Kind(StrEnum):
    """What moved: the group as a whole, or one virtual host of it."""

    GROUP = "group"
    VIP = "vip"


@dataclass(frozen=True, slots=True)
class Hook:
    """`[hooks]`, and over it `[hooks.NAME]`."""

    timeout_s: int = 30  # then it is ended, with all that it started
    events: tuple[Kind, ...] = (Kind.GROUP,)  # what it is run for


@dataclass(frozen=True, slots=True)
class Hooks:
    """What holds for every hook, and for some by the names of their files."""

    default: Hook = Hook()
    named: Mapping[str, Hook] = field(default_factory=dict)

    def of(self, name: str) -> Hook:
        return self.named.get(name, self.default)


@dataclass(frozen=True, slots=True)
class Check:
    """`[checks]`, and over it `[checks.NAME]`."""

    interval_s: int = 10
    timeout_s: int = 5  # then it is ended, and has failed
    rise: int = 2  # successes in a row after which one that failed is well
    fall: int = 2  # failures in a row after which it fails
    weight: int = 240  # that it adds to advskew while it fails; 0: it is told, and demotes nothing


@dataclass(frozen=True, slots=True)
class Checks:
    """What holds for every check, and for some by the names of their files."""

    default: Check = Check()
    named: Mapping[str, Check] = field(default_factory=dict)

    def of(self, name: str) -> Check:
        return self.named.get(name, self.default)


@dataclass(frozen=True, slots=True)
class Flaw:
    """What keeps a file, or all of them, from being run."""

    name: str  # of the file in its directory; "" for the directory itself
    found: str
    expected: str
    hint: str


def is_script_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None
