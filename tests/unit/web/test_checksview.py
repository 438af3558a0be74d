"""Health checks and the schedule of each node, for the status page."""

from __future__ import annotations

import pytest

from carpool.web.checksview import CHECKS_MAX, Checks, Stand, checks_of
from tests.unit.web.desk import HOSTILE
from tests.unit.web.group import Told, pair, silent, with_texts

CHECK: Told = {
    "name": "dns",
    "failing": False,
    "for_s": 90.0,
    "weight": 240,
    "result": "ok",
    "ok": True,
    "last_line": "",
}
FAILS = {**CHECK, "failing": True, "ok": False, "result": "exit 1", "last_line": "no answer"}
SCHEDULE: Told = {
    "expression": "hourly",
    "jitter_s": 0,
    "state": "ok",
    "why": "",
    "running": False,
    "ago_s": 120.0,
    "next_unix_s": 4e9,
}


def told(*rows: Told | None) -> Told:
    """A pair in which each node has one check, or none."""
    answer = pair()
    for node, row in zip(answer["nodes"], rows, strict=False):
        node["checks"] = [] if row is None else [row]
    return answer


def stands(checks: Checks) -> list[Stand]:
    (check,) = checks.checks
    return list(check.stands)


@pytest.mark.parametrize(
    ("row", "word", "level", "weight", "said"),
    [
        (CHECK, "passes", "good", "would demote by 240", ""),
        ({**CHECK, "ok": False}, "passes", "warn", "would demote by 240", "last run failed: ok"),
        (FAILS, "fails", "bad", "demotes by 240", "no answer"),
        ({**FAILS, "weight": 0, "last_line": ""}, "fails", "bad", "demotes nothing", "exit 1"),
        ({**CHECK, "failing": None, "for_s": None}, "not decided yet", "calm", "", "ok"),
    ],
)
def test_a_check_on_one_node(row: Told, word: str, level: str, weight: str, said: str) -> None:
    here, there = stands(checks_of(told(row)))
    assert here.badge is not None and there.badge is None
    assert (here.badge.word, here.badge.level, here.weight) == (word, level, weight)
    assert said in here.said
    assert here.since == ("" if row["failing"] is None else "1 min")


def test_what_a_silent_node_said_is_old_and_an_older_one_tells_nothing() -> None:
    here, there = stands(checks_of(silent(told(CHECK, FAILS))))
    assert not here.old and there.old
    assert checks_of(pair()) == Checks(["fw1", "fw2"], [], [])


def test_the_schedule_is_said_as_on_the_command_line() -> None:
    answer = pair()
    answer["nodes"][0]["schedule"] = SCHEDULE
    answer["nodes"][1]["schedule"] = {**SCHEDULE, "state": "failed", "why": "fw1 is gone"}
    one, other = checks_of(answer).scheduled
    assert one.node == "fw1" and one.text.startswith("hourly, next ")
    assert one.text.endswith("succeeded 2 min ago")
    assert other.text.endswith("failed 2 min ago: fw1 is gone")
    assert [each.node for each in checks_of(silent(answer)).scheduled] == ["fw1"]


@pytest.mark.parametrize("odd", [None, [], "x", {"checks": 1}, [1, None, {"name": 1}]])
def test_no_answer_is_believed(odd: object) -> None:
    answer = pair()
    answer["nodes"][1] |= {"checks": odd, "schedule": odd}
    checks_of(answer)
    many = pair()
    many["nodes"][0]["checks"] = [{**CHECK, "name": f"c{n}"} for n in range(10_000)]
    assert len(checks_of(many).checks) <= CHECKS_MAX
    hostile = told(FAILS, FAILS)
    hostile["nodes"][0]["schedule"] = {**SCHEDULE, "next_unix_s": float("inf")}
    found = checks_of(with_texts(hostile, lambda _text: HOSTILE))
    assert "\x1b" not in repr(found) and "\\x1b" not in repr(found)
