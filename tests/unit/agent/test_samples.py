"""The last hour of state replication, as the agent keeps it."""

from __future__ import annotations

import asyncio

from carpool.agent.samples import EVERY_S, SPAN_S, Samples
from carpool.errors import CarpoolError, UnreachableError

PEERS = [{"sent_per_s": 10.04, "received_per_s": 2}, {"sent_per_s": 5, "received_per_s": None}, 3]


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


async def _silent() -> CarpoolError:
    return UnreachableError("gone", hint="start it")


def test_rates_are_those_to_all_peers_and_times_are_ages() -> None:
    clock = Clock()
    samples = Samples(_silent, clock)
    samples.add({"entries": 12, "peers": PEERS}, clock())
    clock.now_s += 3.5
    assert samples.told() == {
        "every_s": EVERY_S,
        "span_s": SPAN_S,
        "samples": [{"ago_s": 3.5, "entries": 12, "out_per_s": 15.0, "in_per_s": 2}],
    }


def test_a_process_that_does_not_answer_is_a_gap() -> None:
    clock = Clock()
    samples = Samples(_silent, clock)
    samples.add(UnreachableError("gone", hint="start it"), clock())
    samples.add(None, clock())
    samples.add({"entries": "many", "peers": None}, clock())
    rows = samples.told()["samples"]
    assert isinstance(rows, list)
    assert [row["entries"] for row in rows] == [None] * 3
    assert rows[0]["out_per_s"] is None


def test_an_hour_is_kept_and_no_more() -> None:
    clock = Clock()
    samples = Samples(_silent, clock)
    for number in range(1000):
        clock.now_s += EVERY_S
        samples.add({"entries": number, "peers": []}, clock())
    rows = samples.told()["samples"]
    assert isinstance(rows, list)
    assert [len(rows), rows[0]["ago_s"], rows[-1]["entries"]] == [361, SPAN_S, 999]


def test_it_asks_at_once() -> None:
    async def ran() -> dict[str, object]:
        samples = Samples(_silent, Clock())
        task = asyncio.create_task(samples.run())
        await asyncio.sleep(0)
        task.cancel()
        return samples.told()

    assert asyncio.run(ran())["samples"]
