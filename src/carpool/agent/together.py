"""Several things at once, each to its end; and one, with a look at how far it is.

Room: agent. `asyncio.gather` alone leaves the others running, and nobody waiting for them, when
one fails or the whole is cancelled: a service would be stopped while its start is still being
killed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from typing import TypeVar

T = TypeVar("T")
Seen = TypeVar("Seen")
LOOK_EVERY_S = 0.2


async def together(work: Iterable[Coroutine[object, object, T]]) -> list[T]:
    """All results in order, or the first exception in order; nothing runs any more in either case,
    nor when this is cancelled."""
    answers = await asyncio.gather(*work, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return [answer for answer in answers if not isinstance(answer, BaseException)]


async def watched(work: asyncio.Task[T], look: Callable[[], Seen]) -> AsyncGenerator[Seen, None]:
    """What `look` sees, whenever that is something new, until the work has ended; its result is
    for who awaits it. When this is closed or cancelled, the work is, too."""
    last: Seen | None = None
    try:
        while not work.done():
            await asyncio.wait([work], timeout=LOOK_EVERY_S)
            seen = look()
            if seen != last:
                last = seen
                yield seen
    finally:
        if not work.done():
            work.cancel()
            await asyncio.wait([work])
