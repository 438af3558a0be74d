"""`[hooks]`, `[checks]` and `[damping]` of group.toml, for `api/settings.py`.

Room: api. Every process loads this: standard library only. `model/validate_scripts.py` has the
ranges.
"""

from __future__ import annotations

from collections.abc import Mapping

from carpool.api.settingsync import time_s
from carpool.api.tomlfile import Table, shown
from carpool.model.damping import Damping
from carpool.model.keypath import quoted
from carpool.model.scripts import NAME_RULE, Check, Checks, Hook, Hooks, Kind, is_script_name

HOOK_KEYS = ("timeout", "events")
DAMPING_KEYS = ("hold_down", "preempt_delay", "moves_per_hour")
CHECK_KEYS = ("interval", "timeout", "rise", "fall", "weight")


def hooks(root: Table) -> Hooks:
    """`[hooks]`, and `[hooks.NAME]` over it."""
    table, named = _tables(root, "hooks", HOOK_KEYS)
    default = _hook(table, Hook())
    return Hooks(default, {name: _hook(each, default) for name, each in named.items()})


def checks(root: Table) -> Checks:
    """`[checks]`, and `[checks.NAME]` over it."""
    table, named = _tables(root, "checks", CHECK_KEYS)
    default = _check(table, Check())
    return Checks(default, {name: _check(each, default) for name, each in named.items()})


def damping(root: Table) -> Damping:
    """`[damping]`."""
    found = root.names("damping", "a table [damping]")
    table = Table(root.file, ("damping",), found, DAMPING_KEYS)
    return Damping(
        hold_down_s=time_s(table, "hold_down", 0),
        preempt_delay_s=time_s(table, "preempt_delay", 0),
        moves_per_hour=table.number("moves_per_hour", 0),
    )


def _check(table: Table, default: Check) -> Check:
    interval_s = time_s(table, "interval", default.interval_s)
    # Who only shortens the interval has said nothing of a timeout, and is not to hear of it.
    timeout_s = min(default.timeout_s, max(interval_s, 1))
    return Check(
        interval_s=interval_s,
        timeout_s=time_s(table, "timeout", timeout_s),
        rise=table.number("rise", default.rise),
        fall=table.number("fall", default.fall),
        weight=table.number("weight", default.weight),
    )


def _tables(root: Table, key: str, keys: tuple[str, ...]) -> tuple[Table, Mapping[str, Table]]:
    """The table at `key`, and those of it that are about one file each."""
    found = root.names(key, f"a table [{key}]")
    named = {
        name: value for name, value in found.items() if name not in keys and isinstance(value, dict)
    }
    for name in named:
        if not is_script_name(name):
            root.file.wrong((key, name), quoted(name), f"the name of a file: {NAME_RULE}")
    table = Table(root.file, (key,), found, (*keys, *named))
    return table, {
        name: Table(root.file, (key, name), value, keys) for name, value in named.items()
    }


def _hook(table: Table, default: Hook) -> Hook:
    return Hook(
        timeout_s=time_s(table, "timeout", default.timeout_s),
        events=_events(table, default.events),
    )


def _events(table: Table, default: tuple[Kind, ...]) -> tuple[Kind, ...]:
    if "events" not in table:
        return default
    each = " or ".join(quoted(kind) for kind in Kind)
    found: list[Kind] = []
    for index, value in enumerate(table.entries("events", f"a list of {each}", "put it in [ ]")):
        if isinstance(value, str) and value in tuple(Kind):
            found.append(Kind(value))
        else:
            table.file.wrong((*table.path, "events", index), shown(value), each)
    return tuple(dict.fromkeys(found))
