"""Troubles: told once when they come and once when they are over, however often they flap."""

from __future__ import annotations

from carpool.machine.troubles import AGAIN_S, OVER_S, Troubles
from carpool.model.status import Trouble

LINK = Trouble("interface lan", "lan0 has no carrier", "look at the cable", after_s=5.0)
FILES = Trouble("files", "group.toml cannot be used", "carpool check", after_s=0.0)


def test_what_is_over_soon_never_was() -> None:
    troubles = Troubles()
    assert troubles.update([LINK], 0.0) == []
    assert troubles.update([LINK], 4.9) == []
    assert troubles.update([], 5.0) == []
    assert troubles.update([], 100.0) == []


def test_one_line_when_it_comes_and_one_when_it_is_over() -> None:
    troubles = Troubles()
    said = [troubles.update([LINK] if second < 20 else [], float(second)) for second in range(60)]
    assert said[5] == ["lan0 has no carrier. look at the cable"]
    assert said[19 + int(OVER_S)] == ["over: lan0 has no carrier"]
    assert sum(map(len, said)) == 2


def test_what_cannot_pass_by_itself_is_told_at_once() -> None:
    assert Troubles().update([FILES], 0.0) == ["group.toml cannot be used. carpool check"]


def test_a_link_that_flaps_fills_no_screen() -> None:
    troubles = Troubles()
    said = []
    for second in range(600):
        said += troubles.update([LINK] if second % 20 < 10 else [], float(second))
    assert len(said) <= 2 * 600 / AGAIN_S + 1
    assert said[0].startswith("lan0")


def test_other_words_for_the_same_are_told_but_not_each_second() -> None:
    troubles = Troubles()
    said = []
    for second in range(130):
        text = f"no answer for {second} s"
        said += troubles.update([Trouble("peer fw2", text, "", 0.0)], float(second))
    assert len(said) == 3


def test_status_tells_what_holds_the_oldest_first_and_since_when() -> None:
    troubles = Troubles()
    troubles.update([LINK], 0.0)
    troubles.update([FILES, LINK], 3.0)
    rows = troubles.status(4.0)
    assert [row["key"] for row in rows] == ["interface lan", "files"]
    assert [row["since_s"] for row in rows] == [4.0, 1.0]
    assert rows[0]["hint"] == "look at the cable"
    troubles.update([FILES], 5.0)
    assert [row["key"] for row in troubles.status(5.0)] == ["files"]


def test_a_short_gap_does_not_make_it_new() -> None:
    troubles = Troubles()
    troubles.update([LINK], 0.0)
    troubles.update([], 1.0)
    troubles.update([LINK], 2.0)
    assert troubles.status(2.0)[0]["since_s"] == 2.0
    troubles.update([], 3.0)
    troubles.update([LINK], 2.0 + 2 * OVER_S)
    assert troubles.status(2.0 + 2 * OVER_S)[0]["since_s"] == 0.0
