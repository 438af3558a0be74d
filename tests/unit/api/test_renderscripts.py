"""Hooks and checks on a terminal of 80 columns."""

from __future__ import annotations

import io
from datetime import UTC

from rich.console import Console, RenderableType

from carpool.api import renderscripts
from carpool.api.render import Fields

LAST = {
    **{"name": "10-cloud", "time": "2026-03-01T04:05:06.789Z", "subject": "group"},
    **{"to": "MASTER", "ok": False, "result": "exit status 3", "took_s": 0.5},
    "last_line": "no such\x1b[2J address",
}
ROW = {"name": "10-cloud", "events": ["group"], "timeout_s": 30, "running": False, "waiting": 0}
FLAW = {"name": "a.sh", "found": "x", "expected": "y", "hint": "z"}
ANSWER = {
    "directory": "/etc/carpool/hooks.d",
    "hooks": [
        {**ROW, "last": LAST},
        {**ROW, "name": "new", "last": None},
        {**ROW, "name": "slow", "running": True, "waiting": 2, "last": None},
    ],
    "flaws": [FLAW],
}


def shown(what: RenderableType) -> list[str]:
    console = Console(file=io.StringIO(), width=80)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_line_for_each() -> None:
    assert shown(renderscripts.hooks(ANSWER, UTC)) == [
        "HOOK      EVENTS  LAST RUN        FOR            TOOK  RESULT",
        "10-cloud  group   03-01 04:05:06  group MASTER  0.5 s  exit status 3",
        "new       group                                        not run yet",
        "slow      group                                        runs, 2 waiting",
        "Said",
        "  10-cloud: no such?[2J address",
        "Not run",
        "  a.sh: found x, expected y (z)",
    ]


def test_none() -> None:
    none = {"directory": "/etc/carpool/hooks.d", "hooks": [], "flaws": [FLAW]}
    assert shown(renderscripts.hooks(none))[0] == "No hooks in /etc/carpool/hooks.d"


def test_one_that_was_tried() -> None:
    assert shown(renderscripts.hook(LAST)) == [
        "10-cloud, group MASTER: exit status 3 after 0.5 s: no such?[2J address"
    ]


def test_an_answer_of_another_version_breaks_nothing() -> None:
    odds: list[Fields] = [{}, {"hooks": [{}]}, {"hooks": [{"last": {"time": 3}}], "flaws": [{}]}]
    for odd in odds:
        shown(renderscripts.hooks(odd))
        shown(renderscripts.hook(odd))


CHECK = {
    **{"name": "disk", "failing": True, "for_s": 75.0, "weight": 240, "interval_s": 10},
    **{"count": 1, "needed": 2, "result": "exit status 1", "ok": False, "took_s": 0.1},
    "last_line": "/var is 97 % full",
}
FRESH = {**CHECK, "name": "ping", "failing": None, "ok": None, "result": "", "last_line": ""}


def test_checks() -> None:
    assert shown(renderscripts.checks({"checks": [CHECK, FRESH], "flaws": [FLAW]})) == [
        "CHECK  STATE        FOR    EVERY   TOOK  WEIGHT  LAST RESULT",
        "disk   fails 1/2    1 min  10 s   0.1 s     240  exit status 1",
        "ping   not run yet         10 s             240",
        "Said",
        "  disk: /var is 97 % full",
        "Not run",
        "  a.sh: found x, expected y (z)",
    ]


def test_what_status_has_of_them() -> None:
    answers: list[Fields] = [{"checks": [CHECK, FRESH]}, ANSWER]
    assert [line.plain for line in renderscripts.trouble(answers)] == [
        "check disk fails for 1 min: /var is 97 % full",
        "hook 10-cloud, group MASTER: exit status 3: no such?[2J address",
        "not run: a.sh: found x, expected y (z)",
    ]
