"""How hooks and checks look on a terminal.

Room: api. What programs said is cleaned; refuses to know who asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import tzinfo

from rich.console import Group, RenderableType
from rich.text import Text

from carpool.api.render import (
    BAD,
    CALM,
    DIM,
    GOOD,
    WARN,
    Fields,
    brief_moment,
    duration,
    entries_of,
    fields_of,
    named,
    number_of,
    table_of,
    text_of,
    words_of,
)


def hooks(answer: Fields, zone: tzinfo | None = None) -> RenderableType:
    """The whole of `carpool hooks`; times in `zone` (None: the machine's own)."""
    rows = entries_of(answer, "hooks")
    if not rows:
        none = Text(f"No hooks in {text_of(answer, 'directory')}")
        return Group(none, *named("Not run", flaws(answer), WARN))
    table = table_of("HOOK", "EVENTS", "LAST RUN", "FOR", "TOOK", "RESULT", right=(4,), whole=(2,))
    for row in rows:
        last = fields_of(row, "last")
        table.add_row(
            text_of(row, "name"),
            ", ".join(words_of(row, "events")),
            brief_moment(text_of(last, "time"), zone),
            f"{text_of(last, 'subject')} {text_of(last, 'to')}".strip(),
            duration(number_of(last, "took_s")) if last else "",
            _stands(row, last),
        )
    return Group(table, *named("Said", _said(rows)), *named("Not run", flaws(answer), WARN))


def _stands(row: Fields, last: Fields) -> Text:
    if row.get("running"):
        waiting = number_of(row, "waiting")
        return Text(f"runs, {waiting:g} waiting" if waiting else "runs", CALM)
    if not last:
        return Text("not run yet", DIM)
    return Text("ok", GOOD) if last.get("ok") else Text(text_of(last, "result"), BAD)


def _said(rows: list[Fields]) -> Iterator[Text]:
    for row in rows:
        last = fields_of(row, "last")
        if last.get("last_line"):
            yield Text(f"{text_of(row, 'name')}: {text_of(last, 'last_line')}")


def hook(answer: Fields) -> RenderableType:
    """What became of one that was tried."""
    style = GOOD if answer.get("ok") else BAD
    took = duration(number_of(answer, "took_s"))
    what = f"{text_of(answer, 'name')}, {text_of(answer, 'subject')} {text_of(answer, 'to')}: "
    line = Text(what).append(text_of(answer, "result"), style).append(f" after {took}")
    said = text_of(answer, "last_line")
    return line.append(f": {said}") if said else line


def flaws(answer: Fields) -> Iterator[Text]:
    """Files that cannot be run, and why."""
    for row in entries_of(answer, "flaws"):
        name = text_of(row, "name") or "the directory"
        found = f"found {text_of(row, 'found')}, expected {text_of(row, 'expected')}"
        yield Text(f"{name}: {found} ({text_of(row, 'hint')})", WARN)


def checks(answer: Fields) -> RenderableType:
    """The whole of `carpool checks`."""
    rows = entries_of(answer, "checks")
    if not rows:
        none = Text(f"No checks in {text_of(answer, 'directory')}")
        return Group(none, *named("Not run", flaws(answer), WARN))
    table = table_of(
        "CHECK", "STATE", "FOR", "EVERY", "TOOK", "WEIGHT", "LAST RESULT", right=(4, 5)
    )
    for row in rows:
        has_run = row.get("ok") is not None
        table.add_row(
            text_of(row, "name"),
            _state(row),
            duration(number_of(row, "for_s")) if has_run else "",
            duration(number_of(row, "interval_s")),
            duration(number_of(row, "took_s")) if has_run else "",
            text_of(row, "weight"),
            Text(text_of(row, "result"), "" if row.get("ok") in (True, None) else BAD),
        )
    said = (
        Text(f"{text_of(row, 'name')}: {text_of(row, 'last_line')}")
        for row in rows
        if row.get("last_line")
    )
    return Group(table, *named("Said", said), *named("Not run", flaws(answer), WARN))


def _state(row: Fields) -> Text:
    """`ok 1/2`: one failure of the two that make it fail."""
    failing = row.get("failing")
    if not isinstance(failing, bool):
        return Text("not run yet", DIM)
    counted = f" {text_of(row, 'count')}/{text_of(row, 'needed')}" if row.get("count") else ""
    return Text(f"fails{counted}", BAD) if failing else Text(f"ok{counted}", GOOD)


def trouble(answers: Sequence[Fields]) -> Iterator[Text]:
    """For `carpool status`: checks that fail, hooks whose last run failed, files that are not run.
    A check that demotes is told there by failover, too, which may have lost it."""
    for answer in answers:
        for row in entries_of(answer, "checks"):
            if row.get("failing") is True:
                said = text_of(row, "last_line") or text_of(row, "result")
                since = duration(number_of(row, "for_s"))
                yield Text(f"check {text_of(row, 'name')} fails for {since}: {said}", WARN)
        for row in entries_of(answer, "hooks"):
            last = fields_of(row, "last")
            if last.get("ok") is False:
                what = f"{text_of(last, 'subject')} {text_of(last, 'to')}"
                said = f": {text_of(last, 'last_line')}" if text_of(last, "last_line") else ""
                failed = f"hook {text_of(row, 'name')}, {what}: {text_of(last, 'result')}{said}"
                yield Text(failed, WARN)
        for line in flaws(answer):
            yield Text("not run: ", WARN).append(line)
