"""What of the files that arrive would break this node, or may: refused, or told.

Room: agent. Reads files of a stage; what such a value is, `machine/preflight.py` knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from carpool.agent.apply import Refused
from carpool.agent.job import Event
from carpool.agent.plan import Plan
from carpool.machine.keep import kept_whole
from carpool.machine.preflight import Hazard
from carpool.model.manifest import Entry, Kind

READ_MAX_BYTES = 4 * 1024 * 1024  # of a file
TOLD_MAX = 50  # while it is applied; a diff tells all

Search = Callable[[str, bytes], list[Hazard]]  # of a path and its content


def found_hazards(search: Search, plans: Iterable[Plan]) -> list[Hazard]:
    """What of the new files would break here, or may. Blocking. Of what is rendered, the template
    is searched: the values that come into it are this node's own, its peers' addresses too."""
    found: list[Hazard] = []
    for plan in plans:
        for change in plan.changes:
            if change.new is None or change.new.kind is not Kind.FILE:
                continue
            if plan.section.template and plan.section.holds(change.path):
                continue
            with plan.source(change.new).open("rb") as file:
                # So much is set aside, however short the file is.
                most = min(change.new.size, READ_MAX_BYTES)
                found += search(change.path, file.read(most))
    return found


def emptied(plans: Iterable[Plan]) -> list[str]:
    """A sentence for each section of which nothing would be left here: a disk that is not mounted
    over there looks just so."""
    told: list[str] = []
    for plan in plans:
        keep = plan.section.keep
        have, want = (
            [path for path, one in side.items() if _is_content(one) and not kept_whole(path, keep)]
            for side in (plan.have, plan.want)
        )
        if have and not want:
            files = "1 file" if len(have) == 1 else f"{len(have)} files"
            told.append(f"{plan.section.name}: nothing is left of its {files}")
    return told


def _is_content(entry: Entry) -> bool:
    return entry.kind is not Kind.DIRECTORY


def refuse_emptied(plans: Iterable[Plan]) -> None:
    """Raises Refused."""
    if told := emptied(plans):
        raise Refused(
            "; ".join(told),
            hint="is all of it mounted, where it comes from? `carpool diff` shows what would go; "
            "--force removes it",
        )


def refuse_hazards(found: Iterable[Hazard], peer: str) -> None:
    """Raises Refused for what would break here, as far as can be known; it came from `peer`."""
    likely = [str(one) for one in found if one.likely]
    if likely:
        raise Refused(
            "it would break this node: " + "; ".join(likely),
            hint=f"mend it on {peer} (a template, or keep), or say --force",
        )


def warnings_of(found: Sequence[Hazard]) -> Iterator[Event]:
    """A warning for each that does not hinder (any more), the likely ones first."""
    for one in sorted(found, key=lambda hazard: not hazard.likely)[:TOLD_MAX]:
        yield {"step": "warning", "text": str(one)}
    if len(found) > TOLD_MAX:
        yield {"step": "warning", "text": f"and {len(found) - TOLD_MAX} more of that kind"}
