"""Several things at once, each to its end.

Room: agent. `asyncio.gather` alone leaves the others running, and nobody waiting for them, when
one fails or the whole is cancelled: a service would be stopped while its start is still being
killed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import TypeVar

T = TypeVar("T")


async def together(work: Iterable[Coroutine[object, object, T]]) -> list[T]:
    """All results in order, or the first exception in order; nothing runs any more in either case,
    nor when this is cancelled."""
    answers = await asyncio.gather(*work, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return [answer for answer in answers if not isinstance(answer, BaseException)]
