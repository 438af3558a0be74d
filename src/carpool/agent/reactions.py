"""Which services a change asks to reload or restart, and how a journal keeps that.

Room: agent. Values; `apply.py` acts on them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from carpool.agent.job import Event
from carpool.agent.plan import Plan, file_diffs
from carpool.model.section import OnChange, Service

Reaction = tuple[Service, int]  # with the order of its section


def reactions_of(plans: Sequence[Plan]) -> list[Reaction]:
    """The services of all these sections, each once, the strongest reaction of those asked for."""
    found: dict[str, Reaction] = {}
    for plan in plans:
        for one in plan.section.services_of({*plan.have, *plan.want}):
            if one.on_change is OnChange.NOTHING:
                continue
            known = found.get(one.name)
            if known is None or one.on_change is OnChange.RESTART:
                found[one.name] = (one, plan.section.order)
    return list(found.values())


def differences(plan: Plan, root: Path) -> dict[str, object]:
    """What becomes of a section, for people: its files, and what it asks for besides. Blocking."""
    files = file_diffs(plan, root)
    services = [f"{one.deed} {one.name}" for one, _order in reactions_of([plan])]
    checks = [" ".join(plan.section.check)] if plan.section.check else []
    return {
        "name": plan.section.name,
        "files": files,
        "services": services if files else [],
        "checks": checks if files else [],
    }


def restarts_of(plans: Sequence[Plan]) -> list[Reaction]:
    """All services of all these sections, each once, by the lowest order that names it."""
    found: dict[str, Reaction] = {}
    for plan in sorted(plans, key=lambda plan: plan.section.order):
        for one in plan.section.services_of({*plan.have, *plan.want}):
            restart = replace(one, on_change=OnChange.RESTART)
            found.setdefault(one.name, (restart, plan.section.order))
    return list(found.values())


def rulesets_of(services: Sequence[Reaction], active: Collection[str]) -> list[str]:
    """The rulesets that are going to be loaded."""
    return [one.ruleset for one, _order in services if one.ruleset and one.name in active]


@dataclass(frozen=True, slots=True)
class Reach:
    """What a change reaches besides files, as its way back must know it."""

    services: Sequence[Reaction]
    active: frozenset[str]  # those of them that were active before
    of_group: bool  # group.toml is among the files

    def noted(self) -> dict[str, object]:
        """As a journal holds it."""
        listed = [[one.name, one.on_change, order, one.ruleset] for one, order in self.services]
        return {"services": listed, "active": sorted(self.active), "group": self.of_group}


def reach_of(note: Mapping[str, object]) -> Reach:
    """That of a journal that was left. Older versions note no rulesets, and not what was active."""
    listed, active = note.get("services"), note.get("active", [])
    assert isinstance(listed, list) and isinstance(active, list)
    services = [
        (Service(str(name), OnChange(how), ruleset="".join(ruleset)), int(order))
        for name, how, order, *ruleset in listed
    ]
    return Reach(services, frozenset(map(str, active)), note.get("group") is True)


def skipped(services: Sequence[Reaction], idle: Collection[str]) -> Iterator[Event]:
    """Those that do not take up their new files, as they do not run."""
    for one, _order in services:
        if one.name in idle:
            why = "it does not run"
            yield {"step": "skipped", "service": one.name, "deed": one.deed, "why": why}
