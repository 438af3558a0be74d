"""How packages look on a terminal: what could be updated, and how the last update went.

Room: api. Text from other nodes is cleaned; refuses to know who asks.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from carpool.api.clean import clean_lines
from carpool.api.render import Fields, duration, entries_of, fields_of, table_of, text_of, words_of


def packages(answer: Fields) -> RenderableType:
    return Group(*_packages(answer))


def _packages(answer: Fields) -> Iterator[RenderableType]:
    found = entries_of(answer, "packages")
    yield Text(f"{text_of(answer, 'node')}: {summary(answer)}", "bold")
    if found:
        table = table_of("package", "", "installed", "new", "from", whole=(0, 1))
        for one in sorted(found, key=lambda row: row.get("security") is not True):
            security = Text("security", "bold yellow") if one.get("security") else Text("")
            origins = ", ".join(words_of(one, "origins"))
            old = text_of(one, "old") or "comes anew"
            table.add_row(text_of(one, "name"), security, old, text_of(one, "new"), origins)
        yield table
    left = words_of(answer, "left")
    if left:
        told = ", ".join(left)
        yield Text(f"left as they are: {told}; held, or `apt full-upgrade` would remove others")
    if text_of(answer, "reboot"):
        yield Text(f"a reboot is needed: {text_of(answer, 'reboot')}", "yellow")
    masters = words_of(answer, "masters")
    if masters:
        told = ", ".join(masters)
        yield Text(f"it is MASTER of {told}: nothing is updated there before it hands over")
    last = fields_of(answer, "last")
    if text_of(last, "number"):
        yield Text(last_update(last), "red" if text_of(last, "error") else "")


def summary(answer: Fields) -> str:
    """`3 packages, 1 of them for security; lists of 2 h ago`."""
    found = entries_of(answer, "packages")
    security = sum(one.get("security") is True for one in found)
    count = "1 package" if len(found) == 1 else f"{len(found)} packages"
    told = f"{count} could be updated, {security} of them for security" if found else "up to date"
    return f"{told}; {lists(answer)}"


def lists(answer: Fields) -> str:
    age_s = answer.get("lists_s")
    if not isinstance(age_s, int | float):
        return "it never fetched lists of packages"
    return f"by lists of {duration(age_s)} ago"


def last_update(last: Fields) -> str:
    """In a line."""
    what = "update" if last.get("install") is not False else "reboot"
    when = text_of(last, "when")[:19].replace("T", " ")
    head = f"the last {what}, {when} by {text_of(last, 'by')}"
    if text_of(last, "phase") != "ended":
        return f"{head}: is {text_of(last, 'phase')}; `carpool update --follow` shows it"
    error = clean_lines(str(last.get("error") or ""))
    return f"{head}: {f'failed: {error}' if error else 'went well'}"
