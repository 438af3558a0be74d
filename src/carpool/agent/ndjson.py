"""Answers that take long, as they come: one JSON object a line.

Room: agent. `objectlines.py` reads them. Refuses to know what the lines mean, but for the one that
says why there are no more.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping

from fastapi.responses import StreamingResponse

from carpool.errors import CarpoolError

MEDIA_TYPE = "application/x-ndjson"

Item = Mapping[str, object]


class Lines(StreamingResponse):
    """For the OpenAPI description."""

    media_type = MEDIA_TYPE


async def streamed(items: AsyncGenerator[Item, None]) -> Lines:
    """Answer with each object on a line of its own, at once.

    What is refused before the first object is an answer with a status of its own; a CarpoolError
    later is the last line, {"error", "hint"}. When the reader leaves, the generator is closed:
    what must go on belongs in a task of its own.
    """
    try:
        first = await anext(items)
    except StopAsyncIteration:
        return Lines(iter(()))
    return Lines(_lines(first, items))


async def _lines(first: Item, items: AsyncGenerator[Item, None]) -> AsyncIterator[bytes]:
    try:
        yield _line(first)
        async for item in items:
            yield _line(item)
    except CarpoolError as error:
        yield _line({"error": error.message, "hint": error.hint})
    finally:
        await items.aclose()


def _line(item: Item) -> bytes:
    return json.dumps(item, separators=(",", ":")).encode() + b"\n"
