"""However many ask at once, the agent is asked once."""

from __future__ import annotations

import asyncio

import pytest

from carpool.agent.objectlines import Answer
from carpool.errors import CarpoolError, UnreachableError
from carpool.web.atonce import FRESH_S, AtOnce


class Agent:
    def __init__(self) -> None:
        self.asked = 0
        self.now_s = 100.0
        self.is_down = False

    async def ask(self) -> Answer:
        self.asked += 1
        await asyncio.sleep(0)
        if self.is_down:
            raise UnreachableError("it does not run")
        return {"number": self.asked}


def test_many_at_once_are_one_question_and_later_it_is_asked_again() -> None:
    agent = Agent()

    async def scenario() -> None:
        at_once = AtOnce(agent.ask, lambda: agent.now_s)
        found = await asyncio.gather(*(at_once.get() for _ in range(50)))
        assert found == [{"number": 1}] * 50
        agent.now_s += FRESH_S
        assert await at_once.get() == {"number": 2}

    asyncio.run(scenario())
    assert agent.asked == 2


def test_an_agent_that_is_down_is_not_asked_more_often_and_found_when_it_is_back() -> None:
    agent = Agent()
    agent.is_down = True

    async def scenario() -> None:
        at_once = AtOnce(agent.ask, lambda: agent.now_s)
        for _ in range(10):
            with pytest.raises(CarpoolError, match="does not run"):
                await at_once.get()
        assert agent.asked == 1
        agent.is_down = False
        agent.now_s += FRESH_S
        assert await at_once.get() == {"number": 2}

    asyncio.run(scenario())
