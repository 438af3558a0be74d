"""How hooks look on a terminal.

Room: api. What programs said is cleaned; refuses to know who asks.
"""

from __future__ import annotations

from collections.abc import Iterator
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
    duration,
    entries_of,
    moment,
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
        found = row.get("last")
        last: Fields = found if isinstance(found, dict) else {}
        date, time = moment(text_of(last, "time"), zone)
        table.add_row(
            text_of(row, "name"),
            ", ".join(words_of(row, "events")),
            f"{date[5:10]} {time[:8]}".strip(),
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
        last = row.get("last")
        if isinstance(last, dict) and last.get("last_line"):
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
