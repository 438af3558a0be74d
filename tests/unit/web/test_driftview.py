"""How the configuration stands, in words."""

from __future__ import annotations

import pytest

from carpool.errors import UnreachableError
from carpool.web.driftview import configuration_of
from carpool.web.lately import Seen


def row(drift: str, why: str = "") -> dict[str, object]:
    return {"drift": drift, "why": why, "since": "2026-11-23T18:20:57.340Z", "agreed": None}


def seen(peers: object, **more: object) -> Seen:
    return Seen({"peers": peers, "waiting": None, "waiting_on": {}, **more}, None, 3.0)


def test_all_in_sync() -> None:
    found = configuration_of(seen({"fw2": {"nftables": row("in sync"), "dns": row("in sync")}}))
    assert (found.level, found.sentence) == ("good", "All in sync with fw2: 2 sections.")
    assert (found.notes, found.age) == ([], "3.0 s ago")


def test_what_is_not_in_sync_comes_first_with_what_to_do() -> None:
    stands = {"dns": row("in sync"), "nftables": row("ahead"), "vpn": row("unknown", "no answer")}
    found = configuration_of(seen({"fw2": stands}))
    assert found.sentence == "1 of 3 sections not in sync with fw2."
    assert [section.name for section in found.sections] == ["nftables", "vpn", "dns"]
    assert [section.stands[0].badge.level for section in found.sections] == ["warn", "calm", "good"]
    assert found.sections[1].stands[0].why == "no answer"
    assert "carpool sync" in found.notes[0].hint


def test_a_section_that_one_of_two_peers_does_not_tell() -> None:
    found = configuration_of(seen({"fw2": {"dns": row("in sync")}, "fw3": {}}))
    assert [stand.badge.word for stand in found.sections[0].stands] == ["in sync", "not told"]
    assert found.level == "warn"


def test_what_waits_to_be_confirmed_has_the_time_that_is_left_now() -> None:
    waits = {"what": "a sync", "by": "root", "left_s": 63.0}
    found = configuration_of(seen({"fw2": {"dns": row("in sync")}}, waiting=waits))
    assert found.notes[0].text == "a sync of root waits on this node"
    assert found.notes[0].hint == "put back in 1 min: `carpool confirm` keeps it"
    there = configuration_of(seen({}, waiting_on={"fw2": waits}))
    assert there.notes[0].text == "a sync of root waits on fw2"


def test_before_there_is_an_answer_and_without_one() -> None:
    assert configuration_of(Seen(None, None, 0.0)).sentence == "The peers are being asked."
    error = UnreachableError("the agent does not run", hint="start it")
    found = configuration_of(Seen(None, error, 1.0))
    assert (found.notes[0].text, found.notes[0].hint) == ("the agent does not run", "start it")


@pytest.mark.parametrize("value", [None, 3, [], "x", {"fw2": 3}, {"fw2": {"a": None}}])
def test_any_answer_is_shown_somehow(value: object) -> None:
    configuration_of(seen(value, waiting=value, waiting_on=value))
