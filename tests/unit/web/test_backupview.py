"""What the Backup page makes of answers, also of such as no agent of ours gives."""

from __future__ import annotations

from typing import Any

import pytest

from carpool.web.backupview import (
    NEVER,
    acted,
    chosen,
    nodes_of,
    other_version,
    services_of,
    standings_of,
    waiting_here,
    waiting_on,
)

GROUP: dict[str, Any] = {
    "nodes": [
        {"name": "fw1", "here": True, "error": "", "hint": "", "version": "1.0"},
        {"name": "fw2", "here": False, "error": "", "hint": "", "version": "1.1"},
        {"name": "fw3", "here": False, "error": "no answer", "hint": "look", "version": ""},
    ]
}
ROW: dict[str, Any] = {
    "name": "webd",
    "active": True,
    "sub": "running",
    "enabled": True,
    "since": "2026-11-23T05:41:21Z",
    "memory_bytes": 3 * 2**20,
    "sections": ["web", "tunnel"],
    "role": "both",
}


def test_the_first_peer_is_shown_unless_another_node_is_asked_for() -> None:
    nodes = nodes_of(GROUP)
    for wanted, name in (("", "fw2"), ("fw1", "fw1"), ("fw3", "fw3"), ("nobody", "fw2")):
        found = chosen(nodes, wanted)
        assert found is not None and found.name == name
    alone = chosen(nodes[:1], "")
    assert alone is not None and alone.here
    assert chosen([], "fw2") is None


def test_another_version_is_told_where_both_are_known() -> None:
    own, newer, silent = nodes_of(GROUP)
    assert [other_version([own, newer, silent], one) for one in (own, newer, silent)] == [
        "",
        "1.0",
        "",
    ]


def test_a_service_says_how_it_does_and_what_can_be_done() -> None:
    (one,) = services_of({"services": [ROW]})
    assert (one.state, one.tone, one.memory, one.at_boot) == (
        "active",
        "good",
        "3.0 MiB",
        "enabled",
    )
    assert (one.since, one.sections) == ("2026-11-23 05:41:21", "web, tunnel")
    assert one.actions == ("restart", "reload", "stop")
    (one,) = services_of({"services": [{**ROW, "active": False, "sub": "failed"}]})
    assert (one.state, one.tone, one.actions) == ("not active (failed)", "bad", ("start",))
    (one,) = services_of({"services": [{**ROW, "active": False, "sub": "dead"}]})
    assert one.tone == "calm"
    assert acted({"node": "fw2", "service": ROW}) == "fw2: webd is active"


@pytest.mark.parametrize("answer", [{}, {"services": "x"}, {"services": [1, None, {}]}])
def test_an_answer_of_another_make_breaks_no_page(answer: dict[str, object]) -> None:
    for one in services_of(answer):
        assert one.name == "" and one.memory == "" and one.at_boot == ""
    assert nodes_of(answer) == []


def test_sections_stand_as_they_do_and_say_why() -> None:
    answer: dict[str, Any] = {
        "peers": {
            "fw2": {
                "web": {"drift": "in sync", "since": "2026-11-23T05:41:21Z", "why": ""},
                "dns": {"drift": "unknown", "why": ""},
                "vpn": {"drift": "unknown", "why": "no \x1banswer"},
                "new": {"drift": "a word of a later version", "why": ""},
                "odd": 3,
            }
        },
        "waiting_on": {
            "fw2": {"what": "sync", "by": "x", "left_s": 12, "until": "2026-11-23T05:41:21Z"}
        },
        "waiting": {"what": "sync", "by": "y", "left_s": 9.7},
    }
    found = {one.section: (one.tone, one.why) for one in standings_of(answer, "fw2")}
    assert found == {
        "web": ("good", ""),
        "dns": ("warn", NEVER),
        "vpn": ("warn", "no ?answer"),
        "new": ("warn", ""),
    }
    assert standings_of(answer, "fw3") == []
    assert "sync of x waits there to be confirmed" in waiting_on(answer, "fw2")
    assert waiting_on(answer, "fw3") == ""
    assert waiting_here(answer) == "sync of y is put back in 9 s"
    assert waiting_here({"waiting": None}) == ""
