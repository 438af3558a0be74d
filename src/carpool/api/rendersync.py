"""How diffs, steps of a synchronisation and revisions look on a terminal.

Room: api. Text from other nodes is cleaned; refuses to know who asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from rich.console import Group, RenderableType
from rich.text import Text

from carpool.api.clean import clean, clean_lines
from carpool.api.render import (
    Fields,
    duration,
    entries_of,
    fields_of,
    number_of,
    table_of,
    text_of,
    waits_there,
    words_of,
)

_LINE_STYLES = {"+": "green", "-": "red", "@": "cyan"}
_DEED_STYLES = {"added": "green", "removed": "red", "changed": "yellow", "attributes": "yellow"}


def diff(peers: Mapping[str, Fields]) -> RenderableType:
    """What would change on each peer."""
    return Group(*(line for peer, answer in peers.items() for line in _peer_diff(peer, answer)))


def by_whom(who: str, text: str) -> str:
    """The text of somebody, whose name it may begin with."""
    return text if text.startswith(f"{who}: ") else f"{who}: {text}"


def _peer_diff(peer: str, answer: Fields) -> Iterator[RenderableType]:
    if "error" in answer:
        yield Text(by_whom(clean(peer), text_of(answer, "error")), "bold red")
        if text_of(answer, "hint"):
            yield Text(f"  {text_of(answer, 'hint')}")
        return
    waiting = answer.get("waiting")
    if isinstance(waiting, dict):
        yield Text(f"{clean(peer)}: {waits_there(waiting)}", "yellow")
    sections = entries_of(answer, "sections")
    changed = [one for one in sections if entries_of(one, "files")]
    if changed:
        told = f"{_counted(len(changed))} of {len(sections)} would change"
        yield Text(f"{clean(peer)}: {told}", "bold")
    else:
        yield Text(f"{clean(peer)}: nothing would change in {_counted(len(sections))}", "green")
    for section in changed:
        yield from section_diff(section)
    warnings = answer.get("warnings")
    for warning in warnings if isinstance(warnings, list) else []:
        yield Text(f"  ! {clean(str(warning))}", "yellow")


def section_diff(section: Fields) -> Iterator[RenderableType]:
    """The files of a section, and what else it would do."""
    yield Text(f"section {text_of(section, 'name')}", "bold")
    for file in entries_of(section, "files"):
        yield from _file_diff(file)
    for key, words in (("checks", "would check"), ("services", "would")):
        found = section.get(key)
        for one in found if isinstance(found, list) else []:
            yield Text(f"  {words}: {clean(str(one))}", "dim")


def _file_diff(file: Fields) -> Iterator[RenderableType]:
    deed = text_of(file, "deed")
    line = Text("  ").append(deed, _DEED_STYLES.get(deed, ""))
    line.append(f" {text_of(file, 'path')}")
    if text_of(file, "attributes"):
        line.append(f" ({text_of(file, 'attributes')})")
    if file.get("secret"):
        line.append(" (secret: not shown)", "dim")
    elif file.get("binary"):
        line.append(" (binary: not shown)", "dim")
    yield line
    text = file.get("text")
    for row in text.splitlines() if isinstance(text, str) else []:
        yield Text(
            f"  {clean(row)}",
            _LINE_STYLES.get(row[:1], "") if row[:3] not in ("---", "+++") else "bold",
        )


def step(event: Fields) -> Text | None:
    """A line for a step; None for those that say nothing to people."""
    peer = text_of(event, "peer")
    where = f"{peer}: " if peer else ""
    kind = text_of(event, "step")
    if kind == "end":
        return _end(event, peer)
    told = _STEPS.get(kind)
    if kind == "lines":  # what a program says is no sentence of ours
        where = ""
    return Text(f"{where}{told(event)}") if told is not None else None


def _end(event: Fields, peer: str) -> Text:
    outcome = f"{peer}: {text_of(event, 'outcome')}" if peer else text_of(event, "outcome")
    error = clean_lines(str(event.get("error") or "")).removeprefix(f"{peer}: ")
    if not error:
        if text_of(event, "outcome") == "waiting":  # the line before says for what
            return Text(f"{outcome}: the new files are in place", "bold green")
        return Text(f"{outcome}{_took(event)}", "bold green")
    line = Text(f"{outcome}: {error}", "bold red")
    if text_of(event, "hint"):
        line.append(f"\n  {text_of(event, 'hint')}", "not bold default")
    return line


def revisions(rows: list[Fields], section: str = "") -> RenderableType:
    """The history, newest first; `section`: of that alone."""
    if not rows and section:
        return Text(f"no revision of section {clean(section)}")
    if not rows:
        return Text("no revision yet: the first change or synchronisation makes one")
    table = table_of("revision", "when", "kind", "sections", "by", "reason", whole=(0, 1, 2))
    for row in rows:
        sections = ", ".join(words_of(row, "sections"))
        table.add_row(
            text_of(row, "short"),
            text_of(row, "when_iso")[:19].replace("T", " "),
            text_of(row, "kind"),
            sections,
            text_of(row, "author"),
            text_of(row, "reason"),
        )
    return table


def results(rows: list[Fields], section: str = "") -> RenderableType:
    """What came of synchronisations, newest first: a line each, and what failed in its words."""
    if not rows and section:
        return Text(f"section {clean(section)} was not synchronised from this node yet")
    if not rows:
        return Text("nothing was synchronised from this node yet")
    table = table_of("when", "peer", "outcome", "sections", "by", "reason", whole=(0, 1))
    for row in rows:
        sections = row.get("sections")
        outcome = Text(text_of(row, "outcome"), "red" if text_of(row, "error") else "green")
        if text_of(row, "error"):
            outcome.append(f": {clean_lines(str(row['error']))}", "default")
        table.add_row(
            text_of(row, "when")[:19].replace("T", " "),
            text_of(row, "peer"),
            outcome,
            ", ".join(map(clean, sections)) if isinstance(sections, dict) else "",
            text_of(row, "by"),
            text_of(row, "reason"),
        )
    return table


def revision(answer: Fields) -> RenderableType:
    """One revision and its diff."""
    fields = fields_of(answer, "revision")
    lines: list[RenderableType] = [
        Text(f"revision {text_of(fields, 'id')}", "bold"),
        Text(
            f"{text_of(fields, 'kind')} on {text_of(fields, 'node')} by {text_of(fields, 'author')}"
        ),
        Text(f"{text_of(fields, 'when_iso')} {text_of(fields, 'reason')}".rstrip()),
    ]
    for section in entries_of(answer, "sections"):
        lines += section_diff(section)
    return Group(*lines)


_STEPS: dict[str, Callable[[Fields], str]] = {
    "offer": lambda event: f"offering {', '.join(words_of(event, 'sections'))}",
    "first": lambda event: f"group.toml goes first, the rest after it: {_why(event)}",
    "sent": lambda event: f"sent {files(event)}, {number_of(event, 'bytes') / 1e6:.1f} MB",
    "ask": lambda event: f"asking for {', '.join(words_of(event, 'sections'))}",
    "got": lambda event: f"got {files(event)}, {number_of(event, 'bytes') / 1e6:.1f} MB",
    "check": lambda event: f"checked {text_of(event, 'section')}{_took(event)}",
    "snapshot": lambda event: f"kept {files(event)} as they were",
    "swap": lambda event: f"put {files(event)} in place",
    "reload": lambda event: f"reloaded {text_of(event, 'service')}{_took(event)}",
    "load": lambda event: "\n  ! ".join(
        [f"loaded the rules of {text_of(event, 'service')}{_took(event)}", *words_of(event, "told")]
    ),
    "restart": lambda event: f"restarted {text_of(event, 'service')}{_took(event)}",
    "skipped": lambda event: f"! did not {_deed(event)}: {text_of(event, 'why')}",
    "group": lambda event: (
        f"group.toml counts: {'; '.join(words_of(event, 'changes')) or 'as before'}"
    ),
    "settled": lambda event: (
        f"all {text_of(event, 'nodes')} nodes have this group.toml: what was before counts no more"
    ),
    "unsettled": lambda event: (
        f"what was before counts, too, until all nodes have this group.toml: {_without(event)}"
    ),
    "verify": lambda _event: "verified: services that run, VIPs and replication are as before",
    "waiting": lambda event: (
        f"waits {duration(number_of(event, 'within_s'))} for `carpool confirm`"
    ),
    "warning": lambda event: f"! {text_of(event, 'text')}",
    "lines": lambda event: "\n".join(words_of(event, "lines")),
    "update": lambda event: text_of(event, "text"),
    "link": lambda event: f"the link broke ({text_of(event, 'error')}): asking for the outcome",
}


def _without(event: Fields) -> str:
    who = event.get("without")
    return "; ".join(f"{name}: {why}" for name, why in who.items()) if isinstance(who, dict) else ""


def _why(event: Fields) -> str:
    return text_of(event, "why").removeprefix(f"{text_of(event, 'peer')}: ")


def _deed(event: Fields) -> str:
    service, deed = text_of(event, "service"), text_of(event, "deed") or "reload"
    return f"load the rules of {service}" if deed == "load" else f"{deed} {service}"


def _counted(count: int) -> str:
    return "1 section" if count == 1 else f"{count} sections"


def files(event: Fields) -> str:
    """How many they are."""
    count = int(number_of(event, "files"))
    return "1 file" if count == 1 else f"{count:,} files"


def _took(event: Fields) -> str:
    took_s = event.get("took_s")
    return f" in {took_s:.2f} s" if isinstance(took_s, float) else ""
