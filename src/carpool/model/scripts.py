"""Programs of the operator that the agent runs: hooks on transitions.

Room: model. Values only; `api/settingscripts.py` reads them from group.toml.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

HOOKS_DIR = "hooks.d"  # in the configuration directory
NAME_MAX = 64
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
class Flaw:
    """What keeps a file, or all of them, from being run."""

    name: str  # of the file in its directory; "" for the directory itself
    found: str
    expected: str
    hint: str


def is_script_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None
