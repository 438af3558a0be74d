"""Ranges, told where they are written. How they are told is in tests/unit/api/mistakes.txt."""

from __future__ import annotations

from dataclasses import replace

from carpool.model.scripts import Check, Checks, Hook, Hooks
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


def of_checks(checks: Checks) -> list[tuple[str | int, ...]]:
    group = replace(config().group, checks=checks)
    return [found.place[1] for found in script_findings(group)]


def test_a_check_must_end_before_its_next_run() -> None:
    assert of_checks(Checks(Check(interval_s=5, timeout_s=5))) == []
    assert of_checks(Checks(Check(interval_s=5, timeout_s=6))) == [("checks", "timeout")]
    assert of_checks(Checks(named={"ping": Check(interval_s=2)})) == [("checks", "ping", "timeout")]


def test_weights_may_be_nothing() -> None:
    assert of_checks(Checks(Check(weight=0))) == []
    assert of_checks(Checks(Check(weight=-1))) == [("checks", "weight")]
