"""What is wrong with `[hooks]` of group.toml.

Room: model.
"""

from __future__ import annotations

from collections.abc import Iterator

from carpool.model.config import Group
from carpool.model.finding import GROUP_FILE, Finding, Place
from carpool.model.keypath import KeyPath
from carpool.model.scripts import Hook

HOOK_TIMEOUT_MAX_S = 600


def script_findings(group: Group) -> Iterator[Finding]:
    """Values out of their range, where they are written."""
    yield from _hook(("hooks",), group.hooks.default, None)
    for name, hook in group.hooks.named.items():
        yield from _hook(("hooks", name), hook, group.hooks.default)


def _hook(path: KeyPath, hook: Hook, above: Hook | None) -> Iterator[Finding]:
    if above is None or hook.timeout_s != above.timeout_s:
        place = (GROUP_FILE, (*path, "timeout"))
        yield from _time(place, hook.timeout_s, HOOK_TIMEOUT_MAX_S)
    if not hook.events and (above is None or hook.events != above.events):
        place = (GROUP_FILE, (*path, "events"))
        yield Finding(place, "an empty list", '["group"], ["vip"] or both', "chmod -x a hook")


def _time(place: Place, found_s: int, most_s: int) -> Iterator[Finding]:
    if not 1 <= found_s <= most_s:
        yield Finding(place, f'"{found_s}s"', f'a time from "1s" to "{most_s}s"')
