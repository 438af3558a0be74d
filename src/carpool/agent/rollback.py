"""What is to become of sections whose revision is wanted back.

Room: agent. Reads the history and fills a stage; refuses to apply anything (`apply.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from carpool.agent.apply import Refused
from carpool.agent.history import History
from carpool.agent.plan import Plan
from carpool.agent.wanted import Contents, Place
from carpool.kernel.stage import Stage
from carpool.model.manifest import Kind
from carpool.model.section import Section


def plans_back(
    history: History,
    sections: Mapping[str, Section],
    place: Place,
    stage: Stage,
    text: str,
    names: Sequence[str],
) -> list[Plan]:
    """Of these sections, or all that the revision `text` changed; contents that are not here are
    in `stage` then. Blocking. Raises Refused for a section that nobody defines any more."""
    revision = history.resolve(text)
    plans: list[Plan] = []
    for name in names or revision.sections:
        if name not in sections:
            raise Refused(
                f"section {name} of {revision.short} is not defined here any more",
                hint="name the sections that are to go back, or define it in group.toml again",
            )
        section = sections[name]
        want = history.manifest(revision, name)
        have = place.have(section)
        here = {one.sha256 for one in have.values()}
        lacking = [one for one in want.values() if one.kind is Kind.FILE and one.sha256 not in here]
        for entry, chunks in history.contents(revision, name, lacking):
            stage.put(entry.sha256, chunks, entry.size)
        source = Contents(place.root, have, stage)
        plans.append(Plan.of(section, have, want, source, stage.directory))
    return plans
