"""Work that goes on without its browser: one at a time for a node, and the last of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from itertools import count
from pathlib import Path

import pytest

from carpool.agent.objectlines import Answer
from carpool.errors import CarpoolError
from carpool.web.ask import Ask
from carpool.web.jobs import ALL, JOBS_MAX, Busy, Jobs


class Steps(Ask):
    """An agent's steps, of which the last one comes when the test says so."""

    def __init__(self) -> None:
        super().__init__(Path("nowhere"))
        self.gate = asyncio.Event()
        self.bodies: list[Mapping[str, object]] = []

    async def stream(
        self, path: str, body: Mapping[str, object], *, by: str, timeout_s: float = 1.0
    ) -> AsyncIterator[Answer]:
        self.bodies.append(body)
        await self.gate.wait()
        if path == "/refused":
            raise CarpoolError("no", hint="--force")
        if path != "/nobody":
            yield {"step": "end", "peer": "fw2", "outcome": "applied"}
        yield {"step": "over"}


def jobs_of(steps: Steps) -> Jobs:
    numbers = count()
    return Jobs(steps, lambda: 5.0, lambda _: f"job{next(numbers)}")


async def ended(jobs: Jobs) -> None:
    async with asyncio.timeout(10):
        while True:
            if not jobs.running:
                return
            await asyncio.sleep(0)


def test_one_at_a_time_for_a_node() -> None:
    async def tell() -> None:
        steps = Steps()
        jobs = jobs_of(steps)
        first = jobs.begin("synchronise fw2", "fw2", "/v1/sync", {"by": "x"}, by="ann")
        for node in ("fw2", ALL):
            with pytest.raises(Busy, match="synchronise fw2 is under way already: ann") as found:
                jobs.begin("again", node, "/v1/sync", {}, by="bob")
            assert found.value.job is first
        jobs.begin("roll back fw1", "fw1", "/v1/rollback", {}, by="bob")
        steps.gate.set()
        await ended(jobs)
        assert first.state == "done" and steps.bodies[0] == {"by": "ann"}
        jobs.begin("again", ALL, "/v1/sync", {}, by="bob")
        await ended(jobs)

    asyncio.run(tell())


@pytest.mark.parametrize(("path", "why"), [("/refused", "no"), ("/nobody", "nothing was done")])
def test_what_is_refused_or_does_nothing_has_failed(path: str, why: str) -> None:
    async def tell() -> None:
        steps = Steps()
        steps.gate.set()
        jobs = jobs_of(steps)
        job = jobs.begin("x", "fw2", path, {}, by="ann")
        await ended(jobs)
        assert job.state == "failed"
        assert job.progress.nodes["fw2"].error.startswith(why)

    asyncio.run(tell())


def test_the_last_ones_are_kept() -> None:
    async def tell() -> None:
        steps = Steps()
        jobs = jobs_of(steps)
        first = jobs.begin("x", "fw2", "/v1/sync", {}, by="ann")
        steps.gate.set()
        await ended(jobs)
        last = first
        for _ in range(JOBS_MAX):
            last = jobs.begin("x", "fw2", "/v1/sync", {}, by="ann")
            await ended(jobs)
        assert jobs.find(last.number) is last
        with pytest.raises(CarpoolError, match="known here any more"):
            jobs.find(first.number)
        assert jobs.find("job1").number == "job1"
        await jobs.close()

    asyncio.run(tell())


def test_who_leaves_cuts_nothing_short_but_the_listening() -> None:
    async def tell() -> None:
        jobs = jobs_of(Steps())
        job = jobs.begin("x", "fw2", "/v1/sync", {}, by="ann")
        await asyncio.sleep(0)
        await jobs.close()
        assert job.state == "failed"
        assert "not followed to its end" in job.progress.nodes["fw2"].error

    asyncio.run(tell())
