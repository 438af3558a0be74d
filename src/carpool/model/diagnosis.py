"""What `carpool doctor` finds: a diagnosis with its cause and its cure, or why it could not look.

Room: model. Values only: who finds what is in `machine/doctor.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad it is, the worst first."""

    ERROR = "error"  # the group does not work, or two nodes answer for one address
    WARNING = "warning"  # it works, and the next failover will hurt
    NOTE = "note"  # worth knowing; nothing is to be done at once


@dataclass(frozen=True, slots=True)
class Setting:
    """A kernel setting as it should be; `key` is below /proc/sys: `net/ipv4/conf/lan0/rp_filter`.
    With slashes: the name of a device may hold a dot."""

    key: str
    value: int


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing that is wrong, for a person at 3 a.m."""

    check: str  # its name: `rp-filter`
    severity: Severity
    found: str
    why: str  # it matters
    fix: str  # a command, or what to write where
    settings: tuple[Setting, ...] = ()  # all of the fix, where that is safe to do unasked


@dataclass(frozen=True, slots=True)
class Skipped:
    """A check, or a part of it, that could not be made."""

    check: str
    why: str
