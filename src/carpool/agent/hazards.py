"""What of the files that go to another node would break it, or may: refused, or told.

Room: agent. Reads files, before they are sent or, of a pull, as they arrived; what such a value is,
`machine/preflight.py` knows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from carpool.agent.answers import Has
from carpool.agent.apply import Refused
from carpool.agent.job import Event
from carpool.agent.plan import Plan
from carpool.agent.wanted import Place
from carpool.kernel import tree
from carpool.machine import preflight
from carpool.machine.keep import blanked, kept_whole, marked, without
from carpool.machine.preflight import Hazard
from carpool.machine.render import template_path
from carpool.model.config import Group, Node
from carpool.model.manifest import Entry, Kind
from carpool.model.section import Section

READ_MAX_BYTES = 4 * 1024 * 1024  # of a file
TOLD_MAX = 50  # while it is applied; a diff tells all

Search = Callable[[str, bytes], list[Hazard]]  # of a path and its content


def search_between(sender: Node, group: Group, receiver: str, has: Has) -> Search:
    """For addresses and devices of the sender's that the receiver has not."""
    addresses = preflight.foreign_addresses(sender, has.addresses, group)
    devices = preflight.foreign_devices(sender, has.devices)
    both = sender.name, receiver

    def search(path: str, content: bytes) -> list[Hazard]:
        return [
            *preflight.bound_addresses(path, content, addresses, *both),
            *preflight.absent_devices(path, content, devices, *both),
        ]

    return search


def hazards_to_send(
    search: Search, files: Iterable[tuple[Section, Entry]], place: Place, kept: Mapping[str, str]
) -> list[Hazard]:
    """What of these files of ours would break where they go, or may; `kept` are those of which that
    node keeps lines, with the digest of the rest there. Blocking. Of what is rendered there, the
    template is searched: the values that come into it are that node's own. Raises KeepError,
    KernelError."""
    found: list[Hazard] = []
    for section, entry in files:
        path = entry.path
        content = tree.beginning(entry, READ_MAX_BYTES, place.source_root(section))
        if section.template:
            path = template_path(place.config_dir, path)
        elif path in kept and entry.size <= READ_MAX_BYTES:  # no lines are kept of a longer one
            keeps = marked(path, section.keep)
            if hashlib.sha256(without(content, keeps)).hexdigest() == kept[path]:
                continue  # it is asked for each time, and nothing of it changes
            content = blanked(content, keeps)
        found += search(path, content)
    return found


def found_hazards(search: Search, plans: Iterable[Plan]) -> list[Hazard]:
    """What of the new files would break here, or may. Blocking; raises KernelError. Of what is
    rendered, the template is searched, as above."""
    found: list[Hazard] = []
    for plan in plans:
        for change in plan.changes:
            if change.new is None or change.new.kind is not Kind.FILE:
                continue
            if plan.section.template and plan.section.holds(change.path):
                continue
            # So much is set aside, however short the file is.
            most = min(change.new.size, READ_MAX_BYTES)
            found += search(change.path, plan.read(change.new, most))
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


def refuse_hazards(found: Iterable[Hazard], whom: str, sender: str) -> None:
    """Raises Refused for what would break `whom`, as far as can be known; `sender` has it."""
    likely = [str(one) for one in found if one.likely]
    if likely:
        raise Refused(
            f"it would break {whom}: " + "; ".join(likely),
            hint=f"mend it on {sender} (a template, or keep), or say --force",
        )


def warnings_of(found: Sequence[Hazard]) -> Iterator[Event]:
    """A warning for each that does not hinder (any more), the likely ones first."""
    for one in sorted(found, key=lambda hazard: not hazard.likely)[:TOLD_MAX]:
        yield {"step": "warning", "text": str(one)}
    if len(found) > TOLD_MAX:
        yield {"step": "warning", "text": f"and {len(found) - TOLD_MAX} more of that kind"}
