"""Refusals: counted always, told once a minute for each cause."""

from __future__ import annotations

from carpool.agent.refusals import Refusals


def test_each_cause_is_told_at_once_and_then_once_a_minute() -> None:
    now, told = [100.0], list[str]()
    refusals = Refusals(lambda: now[0], told.append)
    for second in range(60):
        now[0] = 100.0 + second
        refusals.add("stranger", f"10.0.0.{second}", "no peer")
    refusals.add("not_tls", "fw2", "plain text")
    assert told == ["agent: refused 10.0.0.0: no peer", "agent: refused fw2: plain text"]
    now[0] = 160.0
    refusals.add("stranger", "10.0.0.60", "no peer")
    assert told[2:] == ["agent: refused 10.0.0.60: no peer; 59 more like it since the last line"]
    assert refusals.counts == {"stranger": 61, "not_tls": 1}
