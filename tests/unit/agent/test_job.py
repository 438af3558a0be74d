"""A job goes on whoever watches."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from carpool.agent.job import Event, Job
from carpool.agent.objectlines import ALIVE, ObjectLines
from carpool.errors import KernelError


async def steps(go: asyncio.Event) -> AsyncIterator[Event]:
    yield {"step": "one"}
    await go.wait()
    yield {"step": "two"}


def test_who_comes_late_sees_all_and_who_leaves_stops_nothing() -> None:
    async def main() -> None:
        go = asyncio.Event()
        job = Job("1", "a change", "alice", steps(go))
        async for event in job.follow():
            assert event == {"step": "one"}
            break  # the link is cut
        go.set()
        assert await asyncio.wait_for(job.wait(), 20) == {"step": "end", "outcome": "done"}
        assert [event["step"] async for event in job.follow()] == ["one", "two", "end"]

    asyncio.run(main())


def test_why_it_failed_is_its_last_word(capfd: pytest.CaptureFixture[str]) -> None:
    async def failing() -> AsyncIterator[Event]:
        yield {"step": "one"}
        raise KernelError("no room", hint="make some")

    async def main() -> None:
        last = await asyncio.wait_for(Job("1", "a change", "alice", failing()).wait(), 20)
        assert last == {"step": "end", "outcome": "failed", "error": "no room", "hint": "make some"}

    asyncio.run(main())
    assert "a change of alice: failed no room" in capfd.readouterr().err


def test_a_bug_is_told_to_who_waits() -> None:
    async def buggy() -> AsyncIterator[Event]:
        yield {"step": "one"}
        raise ZeroDivisionError

    async def main() -> None:
        job = Job("1", "a change", "alice", buggy())
        last = await asyncio.wait_for(job.wait(), 20)
        assert "ZeroDivisionError" in str(last["error"])
        with pytest.raises(ZeroDivisionError):
            await job._task

    asyncio.run(main())


def test_a_step_that_takes_long_is_not_taken_for_a_broken_link() -> None:
    async def main() -> None:
        go = asyncio.Event()
        job = Job("1", "a change", "alice", steps(go))
        heard: list[Event] = []
        async for event in job.follow(0.01):
            heard.append(event)
            if heard.count(ALIVE) == 2:
                go.set()
        assert [event["step"] for event in heard if event != ALIVE] == ["one", "two", "end"]
        assert ALIVE not in job.events, "it is no step"
        lines = ObjectLines("fw2")
        wire = b"".join(json.dumps(event).encode() + b"\n" for event in heard)
        assert list(lines.feed(wire)) == job.events, "who reads it is told of steps alone"

    asyncio.run(asyncio.wait_for(main(), 20))
