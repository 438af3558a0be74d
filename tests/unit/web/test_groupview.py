"""What the status page shows, before there is any HTML."""

from __future__ import annotations

import json
from typing import Any

import pytest

from carpool.machine.verdict import Level
from carpool.web.groupview import Card, Fact, view_of
from tests.unit.web.group import pair, silent, with_texts


def facts(card: Card) -> dict[str, str]:
    return {fact.label: fact.value for fact in card.facts}


def test_a_healthy_pair() -> None:
    view = view_of(pair())
    assert (view.level, view.here, view.group) == (Level.GOOD, "fw1", "edge")
    assert [(card.name, card.here, card.role.word) for card in view.cards] == [
        ("fw1", True, "MASTER"),
        ("fw2", False, "BACKUP"),
    ]
    assert all(not card.notes and not card.silent for card in view.cards)


def test_the_nodes_have_the_same_places_on_both_pages() -> None:
    answer = pair()
    answer["nodes"].reverse()  # as fw2 tells: itself first
    assert [card.name for card in view_of(answer).cards] == ["fw1", "fw2"]
    assert [box.name for box in view_of(answer).picture.boxes] == ["fw1", "fw2"]


def test_a_vip_on_each_node_and_since_when() -> None:
    row = view_of(pair()).rows[0]
    assert (row.vip, row.addresses) == ("51@lan", ["10.10.1.1/24"])
    assert [(cell.badge.word, cell.since, cell.hears) for cell in row.cells] == [
        ("MASTER", "1 h 2 min", ""),
        ("BACKUP", "1 h 2 min", "fw1"),
    ]


def test_a_vip_that_one_node_does_not_know() -> None:
    answer = pair()
    del answer["nodes"][1]["failover"]["vhosts"][0]
    vip = next(row for row in view_of(answer).rows if row.vip == "51@lan")
    assert vip.cells[1].badge.word == "unknown there"


def test_who_is_heard_on_which_link() -> None:
    first, second = view_of(pair()).cards
    assert [link.hears for link in first.links] == ["advertises", "advertises"]
    assert second.links[1].hears == "hears fw1 (10.10.2.2)"


def test_replication_in_numbers() -> None:
    stream = view_of(pair()).cards[0].streams[0]
    assert stream.badge.word == "up 1 min, encrypted"
    assert stream.facts == [
        Fact("Entries", "1,204 here, 1,198 there"),
        Fact("Rate", "12.5/s out, 0.0/s in"),
        Fact("Lag", "p50 1.25 ms, p99 4.5 ms"),
        Fact("Bulk", "complete"),
        Fact("Last bulk", "1,100 in 250 ms, 1 min ago"),
        Fact("Compared", "no difference, 12 s ago"),
    ]


def test_a_bulk_under_way_and_a_stream_that_is_down() -> None:
    answer = pair()
    peer = answer["nodes"][0]["states"]["peers"][0]
    peer.update(bulk="sending", bulk_done=250, bulk_total=1000, connected=False, last_error="gone")
    stream = view_of(answer).cards[0].streams[0]
    assert Fact("Bulk", "sending, 25% of 1,000") in stream.facts
    assert (stream.badge.level, stream.error) == ("bad", "gone")


def test_a_silent_peer_says_since_when_and_what_it_said_is_old() -> None:
    view = view_of(silent(pair()))
    card = view.cards[1]
    assert (card.role.word, card.old, card.told) == ("no answer", "14 s ago", True)
    assert card.hint == "is fw2 up?"
    assert [row.cells[1].old for row in view.rows] == [True, True]


def test_a_peer_that_never_answered_has_told_nothing() -> None:
    card = view_of(silent(pair(), None)).cards[1]
    assert (card.told, card.old, card.facts, card.states) == (False, "", [], None)


def test_processes_that_do_not_answer() -> None:
    answer = pair()
    failed = {"error": "it does not run", "hint": "start it"}
    answer["nodes"][0].update(failover=failed, states=failed)
    card = view_of(answer).cards[0]
    assert card.role.word == "failover silent"
    assert (card.notes[0].text, card.notes[0].hint) == ("it does not run", "start it")
    assert card.states is not None
    assert (card.states.level, card.states.text) == ("bad", "it does not run")


def test_why_a_node_is_demoted_is_said_in_words() -> None:
    answer = pair()
    failover = answer["nodes"][1]["failover"]
    failover.update(maintenance=True, enabled=False)
    failover["demotion"] = [
        {"reason": "maintenance", "weight": 240, "text": "new disk"},
        {"reason": "bulk sync", "weight": 240},
        {"reason": "check disk", "weight": 30, "text": "97 % full"},
    ]
    trouble = {"text": "the clock is in 1970", "hint": "NTP?", "since_s": 60}
    answer["nodes"][1]["troubles"] = [trouble]
    assert [note.text for note in view_of(answer).cards[1].notes] == [
        "Maintenance mode is on (new disk): a peer is to be MASTER",
        "CARP is disabled: it takes part in nothing",
        "Demoted: bulk sync: behind every healthy node",
        "Demoted: check disk (97 % full): advskew + 30",
        "the clock is in 1970 (for 1 min)",
    ]


def test_versions_that_differ_are_marked_on_all() -> None:
    answer = pair()
    answer["nodes"][1]["kernel"] = "6.1.0-41-amd64"
    for card in view_of(answer).cards:
        assert [fact.label for fact in card.facts if fact.differs] == ["Kernel"]


def test_what_a_peer_says_is_bounded_and_steers_nothing() -> None:
    answer = pair()
    answer["nodes"][1]["failover"]["summary"] = "x\x1b[2J" + "y" * 100_000
    rows = answer["nodes"][1]["failover"]["vhosts"]
    answer["nodes"][1]["failover"]["vhosts"] = rows * 10_000
    view = view_of(answer)
    assert "\x1b" not in view.cards[1].summary
    assert len(view.cards[1].summary) < 500
    assert len(view.rows) < 1000


@pytest.mark.parametrize("value", [None, 7, "x", [], [[]], {}, {"a": []}, True, -1.5, float("nan")])
def test_any_value_in_the_place_of_any_other_is_shown_somehow(value: object) -> None:
    for path in _paths(pair()):
        answer = pair()
        _put(answer, path, value)
        view_of(answer)


def _paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, one in pairs:
        found.append((*at, key))
        if isinstance(one, dict | list):
            found += _paths(one, (*at, key))
    return found


def _put(value: Any, path: tuple[Any, ...], new: object) -> None:
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = new


def test_the_sample_is_json_and_its_texts_can_be_changed() -> None:
    assert json.loads(json.dumps(with_texts(pair(), str.upper)))["here"] == "FW1"
