"""An answer of some seconds ago, for all who look."""

from __future__ import annotations

import asyncio

from carpool.errors import UnreachableError
from carpool.web.lately import Lately, Seen

EVERY_S = 10.0


class Asked:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.times = 0
        self.now_s = 100.0
        self.free = asyncio.Event()
        self.fails = False

    async def ask(self) -> dict[str, object]:
        self.times += 1
        await self.free.wait()
        if self.fails:
            raise UnreachableError("gone", hint="start it")
        return {"time": self.times}


def test_many_looks_are_one_question_until_it_is_old() -> None:
    async def looked() -> None:
        asked = Asked()
        asked.free.set()
        lately = Lately(asked.ask, lambda: asked.now_s, EVERY_S)
        one, other = await asyncio.gather(lately.look(), lately.look())
        assert one == other == Seen({"time": 1}, None, 0)
        asked.now_s += EVERY_S - 1
        assert (await lately.look()).age_s == EVERY_S - 1
        assert asked.times == 1
        asked.now_s += 1
        assert (await lately.look()).answer == {"time": 1}  # nobody waits for the new one
        await asyncio.sleep(0)
        assert await lately.look() == Seen({"time": 2}, None, 0)

    asyncio.run(looked())


def test_a_slow_answer_is_not_waited_for_and_not_asked_for_twice() -> None:
    async def looked() -> None:
        asked = Asked()
        lately = Lately(asked.ask, lambda: asked.now_s, EVERY_S)
        assert await lately.look() == Seen(None, None, 100.0)
        asked.now_s += 5 * EVERY_S
        await lately.look()
        assert asked.times == 1
        asked.free.set()
        assert (await lately.look()).answer == {"time": 1}

    asyncio.run(looked())


def test_an_error_is_an_answer_too() -> None:
    async def looked() -> None:
        asked = Asked()
        asked.fails = True
        asked.free.set()
        seen = await Lately(asked.ask, lambda: asked.now_s, EVERY_S).look()
        assert seen.answer is None
        assert seen.error is not None
        assert seen.error.message == "gone"

    asyncio.run(looked())
