"""How the services of a node look on a terminal.

Room: api. Text from other nodes is cleaned; refuses to know who asks.
"""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from carpool.api.clean import clean_lines
from carpool.api.render import (
    BAD,
    DIM,
    GOOD,
    Fields,
    entries_of,
    fields_of,
    number_of,
    table_of,
    text_of,
    words_of,
)

NOTHING = "-"


def services(answer: Fields) -> RenderableType:
    """A line for each."""
    rows = entries_of(answer, "services")
    if not rows:
        return Text(
            f"{text_of(answer, 'node')}: no section that [sync] selects names a service that is "
            "installed here"
        )
    table = table_of("SERVICE", "STATE", "AT BOOT", "SINCE", "MEMORY", "SECTION", "RUNS ON")
    for row in rows:
        table.add_row(
            text_of(row, "name"),
            state(row),
            at_boot(row),
            text_of(row, "since").replace("T", " ").removesuffix("Z") or NOTHING,
            memory(row),
            ", ".join(words_of(row, "sections")) or NOTHING,
            runs_on(row),
        )
    moves = [line for row in rows if (line := moved(row)) is not None]
    return Group(table, Text(), *moves) if moves else table


def service(answer: Fields) -> Text:
    """What became of one that was acted on."""
    row = fields_of(answer, "service")
    line = Text(f"{text_of(answer, 'node')}: {text_of(row, 'name')} is ").append(state(row))
    if text_of(row, "role") == "master":
        line.append(" (runs on the master only: the next change of roles decides anew)")
    return line


def state(row: Fields) -> Text:
    if row.get("active") is True:
        return Text("active", GOOD)
    sub = text_of(row, "sub")
    return Text(f"not active ({sub})" if sub else "not active", BAD if sub == "failed" else DIM)


def runs_on(row: Fields) -> str:
    """`master of 51@lan`; `both, switched`."""
    follows = text_of(row, "follows")
    of = f" of {follows}" if follows else ""
    if row.get("switched") is True:
        return f"both, switched{' by' + of[3:] if of else ''}"
    return text_of(row, "role") + of


def moved(row: Fields) -> Text | None:
    """How it took up the role of its node the last time; a line, or more if it failed."""
    move = row.get("moved")
    if not isinstance(move, dict):
        return None
    name, did = text_of(row, "name"), text_of(move, "did")
    role = "MASTER" if move.get("master") is True else "not MASTER"
    at = text_of(move, "at").partition(".")[0].removesuffix("Z").replace("T", " ")
    if error := clean_lines(str(move.get("error") or "")):
        return Text(f"{name}: {role} at {at}, but {error}", BAD)
    done = f", done {after_s:.2f} s after" if (after_s := number_of(move, "after_s")) else ""
    return Text(f"{name}: {role} at {at}: {did} took {number_of(move, 'took_s'):.2f} s{done}")


def at_boot(row: Fields) -> str:
    """Whether a boot starts it, and who does that."""
    enabled, starters = row.get("enabled"), words_of(row, "wanted_by")
    if not isinstance(enabled, bool):
        return NOTHING
    if starters and not enabled:
        return f"by {', '.join(starters)}"
    return "enabled" if enabled else "disabled"


def memory(row: Fields) -> str:
    """`12.3 MiB`."""
    taken = number_of(row, "memory_bytes")
    return f"{taken / 2**20:.1f} MiB" if taken else NOTHING
