"""What the failover process tells who watches it.

Room: agent. Hears; refuses to know what follows from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from carpool.kernel.journal import say
from carpool.kernel.lines import LINE_MAX_BYTES, parse_object

RETRY_S = 2.0  # until failover is asked again whether it is there, by who is in no hurry
REFUSED_WAIT_S = 10.0  # after an answer that makes no sense


@dataclass(frozen=True, slots=True)
class Told:
    """One line of it."""

    master: bool  # whether this node is
    put_back: bool = False  # the files are what they were before a change that nobody confirmed


async def watch(socket: Path) -> AsyncIterator[Told]:
    """How it is now, and each change; ends when failover is lost."""
    try:
        reader, writer = await asyncio.open_unix_connection(socket, limit=LINE_MAX_BYTES)
    except OSError:
        return
    try:
        writer.write(b'{"command": "watch"}\n')
        await writer.drain()
        while line := await reader.readline():
            answer = parse_object(line) or {}
            if not isinstance(answer.get("master"), bool):
                say(f"agent: failover answers {line[:200]!r} to who watches it")
                await asyncio.sleep(REFUSED_WAIT_S)
                return
            yield Told(bool(answer["master"]), answer.get("reload") is True)
    except (OSError, ValueError):  # ValueError: a line that is too long
        return
    finally:
        writer.close()


async def reread(
    socket: Path, reload: Callable[[], Awaitable[object]], retry_s: float = RETRY_S
) -> None:
    """`reload` whenever failover has put files back, until it is cancelled. One that starts may
    have done so before it could be heard."""
    while True:
        fresh = True
        async for told in watch(socket):
            if told.put_back or fresh:
                await reload()
            fresh = False
        await asyncio.sleep(retry_s)
