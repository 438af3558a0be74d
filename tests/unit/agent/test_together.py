"""Nothing goes on behind the back of who waited."""

from __future__ import annotations

import asyncio

import pytest

from carpool.agent.together import together
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
