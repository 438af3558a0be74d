"""Connections of httpx that outlive requests which nobody waits for any more.

Room: agent; the pages have it, too. httpcore (1.0.9) does not bear cancellation: who is cancelled
while a connection is given to him, is connected, or is closed after its answer, leaves it in the
pool as one in use, for ever (encode/httpcore issue 1093). There are few, so after a few of them the
other end could not be asked again until we are started anew. Here the first such request retires
its client: the next one has another, and the former is closed with its last request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx


@dataclass(slots=True)
class _Used:
    client: httpx.AsyncClient
    requests: int = 0


class Pool:
    """Of connections to one place; `made` makes the client that holds them."""

    def __init__(self, made: Callable[[], httpx.AsyncClient]) -> None:
        self._made = made
        self._now: _Used | None = None

    @asynccontextmanager
    async def send(self, request: httpx.Request) -> AsyncIterator[httpx.Response]:
        """The answer, its content still to come. Raises as httpx does."""
        if self._now is None:
            self._now = _Used(self._made())
        used = self._now
        used.requests += 1
        try:
            response = await used.client.send(request, stream=True)
            try:
                yield response
            finally:
                await response.aclose()
        except asyncio.CancelledError:
            if self._now is used:
                self._now = None
            raise
        finally:
            used.requests -= 1
            if used is not self._now and not used.requests:
                await used.client.aclose()

    async def close(self) -> None:
        """Hang up, whatever is asked now."""
        used, self._now = self._now, None
        if used is not None:
            await used.client.aclose()
