"""All checks of `carpool doctor`, and what came of them together.

Room: machine. Pure: facts in, a report out. Each check is described in docs/doctor.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from carpool.machine import hostchecks, ownchecks, pairchecks, pathchecks, rulechecks, wirechecks
from carpool.machine.checkup import Check
from carpool.machine.facts import Facts
from carpool.model.diagnosis import Diagnosis, Setting, Severity, Skipped

_ALL = (
    *hostchecks.CHECKS,
    *ownchecks.CHECKS,
    *rulechecks.CHECKS,
    *pathchecks.CHECKS,
    *pairchecks.CHECKS,
    *wirechecks.CHECKS,
)
CHECKS: dict[str, Check] = {check.name: check for check in _ALL}
_ORDER = list(Severity)


@dataclass(frozen=True, slots=True)
class Report:
    """What the checks of these names found, the worst first, and where they could not look."""

    checks: tuple[str, ...]
    findings: tuple[Diagnosis, ...]
    skipped: tuple[Skipped, ...]

    def count(self, severity: Severity) -> int:
        return sum(one.severity is severity for one in self.findings)

    @property
    def worst(self) -> Severity | None:
        return self.findings[0].severity if self.findings else None

    @property
    def settings(self) -> tuple[Setting, ...]:
        """All that is safe to put right unasked."""
        found = (setting for one in self.findings for setting in one.settings)
        return tuple(dict.fromkeys(found))

    def after(self, done: Collection[Setting]) -> Report:
        """What is left when these settings are as they should be."""
        left = (one for one in self.findings if not (one.settings and {*one.settings} <= {*done}))
        return Report(self.checks, tuple(left), self.skipped)


def examine(facts: Facts, names: Iterable[str] = ()) -> Report:
    """Make the checks of these names, which must be known; all of them without any."""
    chosen = tuple(dict.fromkeys(names)) or tuple(CHECKS)
    found = [finding for name in chosen for finding in CHECKS[name].judge(facts)]
    diagnoses = [one for one in found if isinstance(one, Diagnosis)]
    diagnoses.sort(key=lambda one: _ORDER.index(one.severity))
    skipped = dict.fromkeys(one for one in found if isinstance(one, Skipped))
    return Report(chosen, tuple(diagnoses), tuple(skipped))
