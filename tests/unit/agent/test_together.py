"""Nothing goes on behind the back of who waited."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from carpool.agent.together import together, watched
from tests.unit.agent.home import until


class Work:
    def __init__(self) -> None:
        self.ended: list[str] = []
        self.begun = 0

    async def ends(self, name: str, error: Exception | None = None, tidying: int = 0) -> str:
        """Tidies up for some rounds of the loop, as who has a child to wait for does."""
        self.begun += 1
        try:
            if error is not None:
                raise error
            if tidying:
                await asyncio.sleep(60)
        finally:
            for _ in range(tidying):
                await asyncio.sleep(0)
            self.ended.append(name)
        return name


def test_results_are_in_order() -> None:
    work = Work()
    assert asyncio.run(together(work.ends(name) for name in ("b", "a"))) == ["b", "a"]
    assert asyncio.run(together([])) == []


def test_an_error_waits_for_the_others() -> None:
    work = Work()
    failing = [work.ends("a", ValueError("x")), work.ends("b"), work.ends("c", OSError())]
    with pytest.raises(ValueError, match="x"):
        asyncio.run(together(failing))
    assert sorted(work.ended) == ["a", "b", "c"]


def test_who_cancels_waits_until_all_have_tidied_up() -> None:
    work = Work()

    async def days() -> None:
        task = asyncio.create_task(together(work.ends(name, tidying=n + 1) for n, name in rows))
        await until(lambda: work.begun == len(rows), "all begin")
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert sorted(work.ended) == ["a", "b", "c"]  # each, not only the quickest

    rows = list(enumerate("abc"))
    asyncio.run(days())


def test_work_is_looked_at_until_it_has_ended() -> None:
    seen: list[int] = []
    count = 0

    async def work() -> str:
        nonlocal count
        for count in (1, 2):
            await until(lambda: seen[-1:] == [count], "it is seen")  # noqa: B023
        return "done"

    async def look() -> str:
        task = asyncio.create_task(work())
        async for each in watched(task, lambda: count):
            seen.append(each)
        return await task

    assert asyncio.run(look()) == "done"
    assert seen == [1, 2]


def test_work_that_nobody_looks_at_any_more_ends() -> None:
    async def leave() -> None:
        task = asyncio.create_task(asyncio.sleep(60))
        async with aclosing(watched(task, lambda: 7)) as looks:
            assert await anext(looks) == 7
        assert task.cancelled()

    asyncio.run(leave())
