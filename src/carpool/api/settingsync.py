"""What node.toml and group.toml say about synchronisation, for `api/settings.py`.

Room: api. Every process loads this: of `[section.NAME]` it judges the name and that it is a table,
for failover and states have no use for more. What is in one, `api/sections.py` reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from carpool.api.tomlfile import Table, cut, shown
from carpool.model.finding import NAME_RULE, is_name
from carpool.model.keypath import quoted
from carpool.model.section import AGENT_PORT, Sync
from carpool.model.validate_sync import SCHEDULE

SYNC_KEYS = ("interface", "sections", "port", "schedule", "schedule_jitter")
SERVICES_KEYS = ("command",)
PLACEHOLDERS = ("{action}", "{service}")
UNITS_S = {"s": 1, "m": 60, "h": 3600}

_TIME = re.compile(r"(0|[1-9][0-9]{0,5})([smh])", re.ASCII)


def sync(root: Table) -> Sync | None:
    """`[sync]` of group.toml."""
    if "sync" not in root:
        return None
    table = Table(root.file, ("sync",), root.names("sync", "a table [sync]"), SYNC_KEYS)
    if root.is_lost("sync"):
        return None
    return Sync(
        interface=table.text("interface", 'a logical interface: "sync"'),
        sections=_sections(table),
        port=table.number("port", AGENT_PORT),
        schedule=table.text("schedule", SCHEDULE) if "schedule" in table else "",
        schedule_jitter_s=time_s(table, "schedule_jitter", 0),
    )


def time_s(table: Table, key: str, default: int) -> int:
    """A time, in seconds."""
    expected = 'a time: "30s", "10m", "1h"'
    if key not in table or not (text := table.text(key, expected)):
        return default
    found = _TIME.fullmatch(text)
    if found is None:
        table.wrong(key, quoted(cut(text)), expected)
        return default
    return int(found[1]) * UNITS_S[found[2]]


def _sections(table: Table) -> tuple[str, ...]:
    if "sections" not in table:
        return ()
    expected = 'a list of names: sections = ["nftables", "unbound"]'
    return strings(table, "sections", expected, 'a name, in quotes: "nftables"')


def strings(table: Table, key: str, expected: str, each: str) -> tuple[str, ...]:
    """A list of strings; of others `each` is said, and an empty one stands in for them."""
    found = []
    for index, value in enumerate(table.entries(key, expected, "put it in [ ]")):
        if not isinstance(value, str):
            table.file.wrong((*table.path, key, index), shown(value), each)
        found.append(value if isinstance(value, str) else "")
    return tuple(found)


def check_section_names(root: Table) -> None:
    """`[section.NAME]` are tables with good names."""
    expected = "a table for each section, by its name: [section.unbound]"
    for name, value in root.names("section", expected).items():
        if not isinstance(value, dict):
            root.file.wrong(("section", name), shown(value), expected)
        elif not is_name(name):
            root.file.wrong(("section", name), quoted(name), NAME_RULE)


def variables(root: Table) -> Mapping[str, str]:
    """`[vars]` of node.toml: values of its own that templates name as {{ vars.x }}."""
    found = {}
    for name, value in root.names("vars", 'a table of names and strings: site = "a"').items():
        if not isinstance(value, str):
            hint = "write it in quotes" if isinstance(value, int | float) else ""
            root.file.wrong(("vars", name), shown(value), 'a string: "a"', hint)
        found[name] = value if isinstance(value, str) else ""
    return found


def service_command(root: Table) -> tuple[str, ...]:
    """`[services] command` of node.toml; () where systemd is asked."""
    if "services" not in root:
        return ()
    tables = root.names("services", "a table [services]")
    table = Table(root.file, ("services",), tables, SERVICES_KEYS)
    if root.is_lost("services"):
        return ()
    example = '["/usr/local/sbin/service", "{action}", "{service}"]'
    expected = f"a list of words: {example}"
    words = strings(table, "command", expected, "a word, in quotes")
    indexes = range(len(words))
    if not (table.is_lost("command") or any(table.is_lost("command", i) for i in indexes)):
        _check_command(table, words, example)
    return words


def _check_command(table: Table, words: Sequence[str], example: str) -> None:
    if not words or not words[0].startswith("/"):
        found = quoted(words[0]) if words else "no word"
        table.wrong("command", found, "a program by its absolute path first", f"as in {example}")
        return
    missing = [mark for mark in PLACEHOLDERS if not any(mark in word for word in words)]
    if missing:
        hint = "they become what to do (start, stop, reload...) and the name of the service"
        found = f"no {' and no '.join(missing)}"
        table.wrong("command", found, f"both {' and '.join(PLACEHOLDERS)}", hint)
