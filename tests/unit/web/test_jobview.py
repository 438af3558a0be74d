"""What the page of a job tells, step by step."""

from __future__ import annotations

from typing import Any

from carpool.web.jobview import LINES_MAX, NODES_MAX, TOLD_MAX, Progress


def taken(*events: dict[str, Any]) -> Progress:
    progress = Progress()
    for number, event in enumerate(events):
        progress.take(event, float(number))
    return progress


SYNC: tuple[dict[str, Any], ...] = (
    {"step": "look", "sections": ["web"]},
    {"step": "offer", "peer": "fw2", "sections": ["web"]},
    {"step": "sending", "peer": "fw2", "files": 1, "files_all": 2, "bytes": 5, "bytes_all": 9},
    {"step": "plan", "peer": "fw2", "changes": 2, "sections": {"web": {"added": 1, "changed": 1}}},
    {"step": "reload", "peer": "fw2", "service": "webd", "took_s": 0.5},
    {"step": "warning", "peer": "fw2", "text": "the clock is off"},
    {"step": "waiting", "peer": "fw2", "within_s": 60.0, "number": "n1"},
    {"step": "end", "peer": "fw2", "outcome": "waiting"},
    {"step": "over", "failed": []},
)


def test_what_is_under_way_is_told_and_what_came_of_it() -> None:
    progress = taken(*SYNC[:3])
    assert progress.doing.startswith("fw2: 1 of 2 files")
    assert (progress.done_bytes, progress.all_bytes) == (5, 9)
    progress = taken(*SYNC)
    (fw2,) = progress.nodes.values()
    assert fw2.sections == {"web": "1 changed, 1 added"}
    assert fw2.services == ["reloaded webd"]
    assert fw2.told == ["! the clock is off"]
    assert progress.waiting == [fw2] and fw2.waits_until_s == 6 + 60
    assert (progress.doing, progress.all_bytes, progress.has_failed) == ("", 0, False)


def test_what_waited_is_settled_by_a_newer_row_alone() -> None:
    mine = {"peer": "fw2", "outcome": "waiting", "number": "n1"}
    older = {"peer": "fw2", "outcome": "applied"}
    other = {"peer": "fw3", "outcome": "applied"}
    for rows in ([], [older], [other, mine, older]):
        progress = taken(*SYNC)
        progress.settle(rows)
        assert progress.waiting, rows
    for outcome, is_back in (("confirmed", False), ("put back (nobody confirmed)", True)):
        progress = taken(*SYNC)
        progress.settle([{"peer": "fw2", "outcome": outcome}, other, mine])
        assert not progress.waiting and progress.nodes["fw2"].outcome == outcome
        assert progress.is_put_back is is_back


def test_what_force_overrides_may_be_said_again() -> None:
    refused = {"step": "end", "peer": "fw2", "outcome": "failed"}
    progress = taken({**refused, "error": "fw2: it changed", "hint": "--force overwrites it"})
    assert progress.nodes["fw2"].error == "it changed" and progress.wants_force
    assert not taken({**refused, "error": "no answer", "hint": "look"}).wants_force
    progress = taken(*SYNC[:2])
    progress.fail("fw2", "this node is not MASTER", "run it there, or say --force")
    assert progress.has_failed and progress.wants_force and progress.doing == ""


def test_it_keeps_so_much_whatever_a_peer_tells() -> None:
    many = [{"step": "warning", "peer": "fw2", "text": f"{n}\x1b"} for n in range(LINES_MAX + 9)]
    nodes = [{"step": "offer", "peer": f"n{n}", "sections": []} for n in range(NODES_MAX + 9)]
    odd: list[dict[str, Any]] = [
        {"step": "plan", "peer": "fw2", "sections": 3},
        {"step": "sending", "peer": "fw2", "bytes": "x", "bytes_all": float("inf")},
        {"step": "end", "peer": "fw2"},
        {"step": ["a"]},
        {},
    ]
    progress = taken(*many, *nodes, *odd)
    assert len(progress.lines) == LINES_MAX
    assert len(progress.nodes["fw2"].told) == TOLD_MAX
    assert len(progress.nodes) == NODES_MAX
    assert "\x1b" not in "".join([*progress.lines, *progress.nodes["fw2"].told])
    assert progress.nodes["fw2"].outcome == "ended"
