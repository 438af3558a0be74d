"""How the targets of alerts look on a terminal.

Room: api. URLs come masked; what a service said is cleaned.
"""

from __future__ import annotations

from datetime import tzinfo

from rich.console import Group, RenderableType
from rich.text import Text

from carpool.api.render import (
    BAD,
    DIM,
    GOOD,
    WARN,
    Fields,
    brief_moment,
    entries_of,
    fields_of,
    named,
    number_of,
    table_of,
    text_of,
    words_of,
)


def alerts(answer: Fields, zone: tzinfo | None = None) -> RenderableType:
    """The whole of `carpool alerts`; times in `zone` (None: the machine's own)."""
    rows = entries_of(answer, "alerts")
    wrong = list(named("Wrong", map(Text, words_of(answer, "problems")), WARN))
    if not rows:
        return Group(Text(f"Nobody is told: no target in {text_of(answer, 'file')}"), *wrong)
    table = table_of("TARGET", "TO", "TOLD OF", "LAST", "RESULT", whole=(3,))
    for row in rows:
        last = fields_of(row, "last")
        table.add_row(
            text_of(row, "name"),
            text_of(row, "url"),
            ", ".join(words_of(row, "on")),
            brief_moment(text_of(last, "time"), zone),
            _stands(row, last),
        )
    return Group(table, *wrong)


def tried(answer: Fields) -> RenderableType:
    """What came of a try, for each target."""
    return Group(
        *(
            Text.assemble(f"{text_of(row, 'name')}: ", _result(row))
            for row in entries_of(answer, "tried")
        )
    )


def is_well(answer: Fields) -> bool:
    """Whether every try was sent."""
    return all(row.get("ok") is True for row in entries_of(answer, "tried"))


def _stands(row: Fields, last: Fields) -> Text:
    waiting = number_of(row, "waiting")
    if waiting:
        return Text(f"{waiting:g} waiting", WARN)
    return _result(last) if last else Text("nothing sent yet", DIM)


def _result(last: Fields) -> Text:
    return Text("sent", GOOD) if last.get("ok") else Text(text_of(last, "result"), BAD)
