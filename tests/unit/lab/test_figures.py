"""Medians against the best peer, targets of both kinds, and what is told when nothing was found."""

from __future__ import annotations

import json

from carpool.lab.figures import Better, Row, cells, judge, markdown
from carpool.lab.statesbench.measures import MEASURES

CHEAP = Row("cpu", "CPU", "s", Better.LESS, 0.5, of_peer=True, peers=("one", "other"))
QUICK = Row("rate", "rate", "1/s", Better.MORE, 85.0, peers=("one",))


def test_the_median_is_held_against_the_best_peer() -> None:
    samples = {
        ("cpu", "carpool"): [1.0, 9.0, 1.2],
        ("cpu", "one"): [4.0, 4.0],
        ("cpu", "other"): [2.0, 2.4, 9.0],
    }
    entry = judge(CHEAP, samples)
    assert entry["carpool"] == 1.2 and entry["carpool_min"] == 1.0 and entry["carpool_max"] == 9.0
    assert (entry["peer"], entry["peer_name"], entry["ratio"]) == (2.4, "other", 0.5)
    assert entry["met"] and entry["runs"] == 3
    assert not judge(CHEAP, {**samples, ("cpu", "carpool"): [1.21]})["met"]


def test_a_limit_without_a_peer_needs_none() -> None:
    entry = judge(QUICK, {("rate", "carpool"): [85.0]})
    assert entry["met"] and entry["peer"] is entry["ratio"] is entry["peer_name"] is None
    assert not judge(QUICK, {("rate", "carpool"): [84.9], ("rate", "one"): [1.0]})["met"]


def test_more_is_better_picks_the_peer_with_more() -> None:
    row = Row("rate", "rate", "1/s", Better.MORE, 0.9, of_peer=True, peers=("one", "other"))
    samples = {("rate", "carpool"): [95], ("rate", "one"): [50], ("rate", "other"): [100]}
    entry = judge(row, samples)
    assert (entry["peer_name"], entry["met"]) == ("other", True)


def test_a_row_without_a_limit_is_told_and_asks_nothing() -> None:
    entry = judge(Row("cpu", "CPU", "s", Better.LESS, None, peers=("one",)), {})
    assert entry["met"]
    assert cells(entry)[-2:] == ("-", "")


def test_what_was_not_measured_is_missed() -> None:
    """By nobody, by carpool, or by the peer that it is held against."""
    for samples in ({}, {("cpu", "one"): [2.0]}, {("cpu", "carpool"): [0.1]}):
        assert not judge(CHEAP, samples)["met"]
    assert not judge(QUICK, {})["met"]


def test_the_forms_in_which_it_is_told() -> None:
    samples = {("cpu", "carpool"): [1.0, 2.0], ("cpu", "one"): [12345.0]}
    entry = judge(CHEAP, samples)
    wanted = {"measure", "unit", "carpool", "peer", "peer_name", "ratio", "target", "met"}
    assert wanted <= json.loads(json.dumps(entry)).keys()
    assert cells(entry)[2:] == ("1.5 (1-2)", "12,340 one", "0.00", CHEAP.target, "met")
    lines = markdown([entry, judge(QUICK, {})]).splitlines()
    assert len(lines) == 4 and lines[0].count("|") == lines[3].count("|")
    assert lines[3] == "| rate | 1/s | - | - | - | at least 85 1/s | MISSED |"


def test_no_two_rows_share_a_key() -> None:
    keys = [row.key for measure in MEASURES for row in measure.rows]
    assert len(keys) == len(set(keys))
