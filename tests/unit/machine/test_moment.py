"""The line that says what a node had when its role changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carpool.machine.moment import LINE_MAX, Stream, became, ceased, span

WELL = Stream("fw1", True, 900.0, 0.42, 312.0, False, 0, 1.3, "")


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (WELL, "all of fw1 until 420 ms before (whole table 5 min before)"),
        (replace(WELL, taking=True), "all of fw1 until 420 ms before (whole table 5 min before)"),
        (
            replace(WELL, up=False, since_s=3.1, heard_s=8.1, error="silent for 5 s"),
            "all of fw1 until 8.10 s before (whole table 5 min before), then no stream for 3.10 s "
            "(silent for 5 s)",
        ),
        (
            replace(WELL, whole_s=None, taking=True),
            "of fw1 only the part of its table that had come",
        ),
        (replace(WELL, whole_s=None), "nothing of fw1 yet, whose table had not come"),
        (
            replace(WELL, up=False, heard_s=None, whole_s=None, error="refused\x1b[2J"),
            "nothing of fw1, no stream for 15 min (refused?[2J)",
        ),
    ],
)
def test_what_who_became_master_had(stream: Stream, words: str) -> None:
    assert became(5034, [stream]) == f"MASTER with 5034 entries: {words}"


def test_of_several_peers_and_of_none() -> None:
    assert became(7, [WELL, replace(WELL, peer="fw3")]).count("; ") == 1
    assert became(7, []) == "MASTER with 7 entries"
    assert len(became(7, [replace(WELL, up=False, error="x" * 900)] * 40)) == LINE_MAX


def test_what_who_ceased_to_be_still_had_to_give() -> None:
    owed = replace(WELL, peer="fw2", queued_bytes=1200)
    assert ceased([owed]) == (
        "no longer MASTER: 1200 bytes were still to go to fw2, lag 1 ms (p99)"
    )
    assert ceased([replace(owed, lag_ms=None)]).endswith("to fw2, lag not measured lately")
    assert ceased([replace(owed, up=False, error="reset")]) == (
        "no longer MASTER: fw2 was told nothing, no stream for 15 min (reset)"
    )
    assert ceased([]) == "no longer MASTER: it has no peers"


def test_spans() -> None:
    found = [span(seconds) for seconds in (0.0001, 0.25, 3.391, 90.0, 3 * 3600.0)]
    assert found == ["less than 1 ms", "250 ms", "3.39 s", "2 min", "3 h"]
