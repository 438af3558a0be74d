"""Answers line by line: at once, and with the reason when they end early."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator

import pytest

from carpool.agent.ndjson import MEDIA_TYPE, Item, streamed
from carpool.errors import PeerError


def said(items: AsyncGenerator[Item, None]) -> list[object]:
    async def read() -> list[object]:
        response = await streamed(items)
        assert response.media_type == MEDIA_TYPE
        content = b"".join([bytes(part) async for part in response.body_iterator])  # type: ignore[arg-type]
        assert content == b"" or content.endswith(b"\n")
        return [json.loads(line) for line in content.splitlines()]

    return asyncio.run(read())


async def steps(count: int, error: Exception | None = None) -> AsyncGenerator[Item, None]:
    for number in range(count):
        yield {"step": number, "text": "zwei\nZeilen"}
    if error is not None:
        raise error


def test_each_object_is_a_line() -> None:
    assert said(steps(2)) == [{"step": number, "text": "zwei\nZeilen"} for number in (0, 1)]


def test_nothing_to_say_is_an_empty_answer() -> None:
    assert said(steps(0)) == []


def test_an_error_on_the_way_is_the_last_line() -> None:
    found = said(steps(1, PeerError("fw2 broke off", hint="look there")))
    assert found[1:] == [{"error": "fw2 broke off", "hint": "look there"}]


def test_an_error_before_the_first_line_is_an_answer_of_its_own() -> None:
    with pytest.raises(PeerError, match="at it"):
        said(steps(0, PeerError("somebody is at it")))


def test_a_bug_is_no_line() -> None:
    with pytest.raises(ValueError, match="a bug"):
        said(steps(1, ValueError("a bug")))


def test_the_generator_is_closed_when_the_reader_leaves() -> None:
    closed: list[bool] = []

    async def items() -> AsyncGenerator[Item, None]:
        try:
            while True:
                yield {"step": 1}
        finally:
            closed.append(True)

    async def leave() -> None:
        response = await streamed(items())
        iterator = response.body_iterator
        assert isinstance(iterator, AsyncGenerator)
        await anext(iterator)
        await iterator.aclose()

    asyncio.run(leave())
    assert closed == [True]
