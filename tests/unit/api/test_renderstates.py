"""The page of `carpool states`, to the letter, on a terminal of 80 columns."""

from __future__ import annotations

import pytest

from carpool.api import renderstates
from carpool.api.control import Answer
from carpool.errors import UnreachableError
from tests.unit.api import answers
from tests.unit.api.test_render import as_answered, seen

PEER: Answer = {
    "name": "fw2",
    "address": "10.10.3.2",
    "connected": True,
    "since_s": 480.0,
    "entries": 1200000,
    "sent": 12345678,
    "received": 345,
    "injected": 345,
    "errors": 0,
    "sent_per_s": 1234.56,
    "received_per_s": 0.0,
    "bytes_sent": 2_345_678_901,
    "bytes_received": 1234,
    "queued_bytes": 12345,
    "lag": {"p50_ms": 0.2512, "p99_ms": 12.81, "samples": 600},
    "bulk": "sending",
    "bulk_done": 640000,
    "bulk_total": 1280000,
    "last_bulk": {"entries": 1234567, "duration_s": 12.3, "ago_s": 400.0},
    "drift": {"missing": 3, "extra": 2, "different": 0, "ago_s": 3.2},
    "last_error": "silent for 5 s",
}
FULL: Answer = {
    "ok": True,
    "process": "states",
    "node": "fw1",
    "entries": 1234567,
    "scope": "assured",
    "encryption": "tls",
    "master": True,
    "failover": None,
    "window_check": "sweeping",
    "hold": {"on": True, "reason": "taking the table of fw2"},
    "uptime_s": 500.0,
    "counters": {
        **{"events": 99, "skipped_local": 12345, "skipped_tomorrow": 4, "without_labels": 1},
        **{"kept_own": 2, "overflows": 1, "error_ENOMEM": 3, "streams_lost": 0},
    },
    "peers": [PEER],
}


def page(answer: Answer) -> str:
    return seen(renderstates.page(as_answered(answer)))


def test_everything() -> None:
    assert (
        page(FULL)
        == """
fw1: master   1,234,567 states here   scope assured   up 8 min
  window check  off until old connections are told to be liberal
  preemption    held: taking the table of fw2

fw2  10.10.3.2  up 8 min  tls
  entries     1,234,567 here, 1,200,000 there
  sent        1,234.6/s   12,345,678 requests   2.3 GB
  received    0.0/s   345 requests   1.2 kB
              345 in place, 0 refused by the kernel
  waiting     12.3 kB
  lag         p50 0.251 ms, p99 12.8 ms from event to acknowledged (600 samples)
  bulk        sending  ━━━━━━━━━━━━━━━                 50% of 1,280,000
              last: 1,234,567 entries in 12 s, 6 min ago
  drift       3 missing, 2 extra, found 3.2 s ago
  last error  silent for 5 s
              that is past: the stream is up

Not given to peers
  12,345  to or from this node itself
       4  left here: tomorrow
       1  given without: labels

Not taken from peers
  2  changes of connections that this master knows better

Trouble
  1  times that events came faster than they were read: answered by a bulk
  3  entries that the kernel refused: ENOMEM
"""
    )


def test_an_older_process_and_a_peer_that_is_down() -> None:
    older = {key: value for key, value in answers.STATES.items() if key != "encryption"}
    assert (
        page(older)
        == """
-: no master   1,234,567 states here   scope -   up 8 min
  window check  -

fw2  10.10.3.2  up 8 min
  entries   1,234,567 here, - there
  sent      -/s   12,345,678 requests   - B
  received  -/s   345 requests   - B
            345 in place, 0 refused by the kernel
  waiting   - B
  lag       -
  bulk      complete
  drift     -

fw3  10.10.3.3  down 12 s
  entries     1,234,567 here, - there
  sent        -/s   0 requests   - B
  received    -/s   0 requests   - B
              0 in place, 3 refused by the kernel
  waiting     - B
  lag         -
  bulk        idle
  drift       -
  last error  connect to 10.10.3.3 port 3782: Connection refused
              is `carpool run states` running on fw3?
"""
    )


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"peers": []},
        {"peers": [{}]},
        {"peers": "none", "counters": 7, "hold": [], "node": "\x1b[31m"},
        {"peers": [{**PEER, "lag": 3, "drift": "x", "last_bulk": 1, "bulk_total": 0}]},
        {"peers": [{**PEER, "bulk_done": "many", "entries": "x", "queued_bytes": 1e30}]},
        {"peers": [{**PEER, "bulk_total": None, "lag": {"samples": 0, "p50_ms": None}}]},
    ],
)
def test_no_answer_is_believed(broken: Answer) -> None:
    text = page(broken)
    assert "\x1b" not in text


def test_a_process_that_is_down() -> None:
    down = UnreachableError("the states process does not answer", hint="is it running?")
    assert seen(renderstates.page(down)) == (
        "\nState replication: DOWN\n  the states process does not answer\n  is it running?\n"
    )


def test_failover_is_missed_and_no_drift_is_good() -> None:
    drift = {"missing": 0, "extra": 0, "different": 0, "ago_s": 59.0}
    peer = {**PEER, "drift": drift, "bulk": "complete", "entries_max": 2_000_000}
    more = {"failover": "failover.sock: gone", "encryption": "none", "peers": [peer]}
    text = page({**FULL, **more})
    assert "1,234,567 here, 1,200,000 there, room for 2,000,000" in text
    assert "failover      failover.sock: gone; no deletions are sent until it is back" in text
    assert "drift       none, 59 s ago" in text
    assert "not encrypted" in text
    assert "━" not in text
