"""Ranges, told where they are written. How they are told is in tests/unit/api/mistakes.txt."""

from __future__ import annotations

from dataclasses import replace

from carpool.model.scripts import Hook, Hooks
from carpool.model.validate_scripts import HOOK_TIMEOUT_MAX_S, script_findings
from tests.unit.model.configs import config


def places(hooks: Hooks) -> list[tuple[str | int, ...]]:
    group = replace(config().group, hooks=hooks)
    return [found.place[1] for found in script_findings(group)]


def test_limits_in_time() -> None:
    for good_s in (1, HOOK_TIMEOUT_MAX_S):
        assert places(Hooks(Hook(timeout_s=good_s))) == []
    for bad_s in (0, HOOK_TIMEOUT_MAX_S + 1):
        assert places(Hooks(Hook(timeout_s=bad_s))) == [("hooks", "timeout")]


def test_what_a_hook_inherits_is_told_once() -> None:
    bad = Hook(timeout_s=0)
    assert places(Hooks(bad, {"cloud": bad})) == [("hooks", "timeout")]
    assert places(Hooks(Hook(), {"cloud": bad})) == [("hooks", "cloud", "timeout")]
    assert places(Hooks(Hook(), {"cloud": Hook(events=())})) == [("hooks", "cloud", "events")]
