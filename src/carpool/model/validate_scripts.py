"""What is wrong with `[hooks]`, `[checks]` and `[damping]` of group.toml.

Room: model.
"""

from __future__ import annotations

from collections.abc import Iterator

from carpool.model import detection
from carpool.model.config import Group
from carpool.model.damping import ranges
from carpool.model.finding import GROUP_FILE, Finding, Place, in_range
from carpool.model.keypath import KeyPath
from carpool.model.scripts import WEIGHT_MAX, Check, Hook

HOOK_TIMEOUT_MAX_S = 600
INTERVAL_MAX_S = 3600
COUNT_MAX = 100


def script_findings(group: Group) -> Iterator[Finding]:
    """Values out of their range, where they are written."""
    yield from _hook(("hooks",), group.hooks.default, None)
    for name, hook in group.hooks.named.items():
        yield from _hook(("hooks", name), hook, group.hooks.default)
    for key, found, expected in detection.ranges(group.detection):
        yield Finding((GROUP_FILE, ("detection", key)), found, expected)
    yield from _check(("checks",), group.checks.default, None)
    for name, check in group.checks.named.items():
        yield from _check(("checks", name), check, group.checks.default)
    for key, found, expected in ranges(group.damping):
        yield Finding((GROUP_FILE, ("damping", key)), found, expected)


def _hook(path: KeyPath, hook: Hook, above: Hook | None) -> Iterator[Finding]:
    if above is None or hook.timeout_s != above.timeout_s:
        place = (GROUP_FILE, (*path, "timeout"))
        yield from _time(place, hook.timeout_s, HOOK_TIMEOUT_MAX_S)
    if not hook.events and (above is None or hook.events != above.events):
        place = (GROUP_FILE, (*path, "events"))
        yield Finding(place, "an empty list", '["group"], ["vip"] or both', "chmod -x a hook")


def _check(path: KeyPath, check: Check, above: Check | None) -> Iterator[Finding]:
    def at(key: str) -> Place:
        return GROUP_FILE, (*path, key)

    if above is None or check.interval_s != above.interval_s:
        yield from _time(at("interval"), check.interval_s, INTERVAL_MAX_S)
    times = check.timeout_s, check.interval_s
    if above is None or times != (above.timeout_s, above.interval_s):
        if not 1 <= check.timeout_s <= max(check.interval_s, 1):
            expected = f'a time from "1s" to its interval, "{check.interval_s}s"'
            hint = "the next run would come before this one has ended"
            needs = (at("interval"), (GROUP_FILE, ("checks", "interval")))
            yield Finding(at("timeout"), f'"{check.timeout_s}s"', expected, hint, needs=needs)
    if above is None or check.rise != above.rise:
        yield from in_range(at("rise"), check.rise, 1, COUNT_MAX)
    if above is None or check.fall != above.fall:
        yield from in_range(at("fall"), check.fall, 1, COUNT_MAX)
    if above is None or check.weight != above.weight:
        hint = "0: it is told, and demotes nothing"
        yield from in_range(at("weight"), check.weight, 0, WEIGHT_MAX, hint)


def _time(place: Place, found_s: int, most_s: int) -> Iterator[Finding]:
    if not 1 <= found_s <= most_s:
        yield Finding(place, f'"{found_s}s"', f'a time from "1s" to "{most_s}s"')
