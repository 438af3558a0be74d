"""What the failover process tells who watches it.

Room: agent. Hears; refuses to know what follows from it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from carpool.api.control import ANSWER_MAX_BYTES
from carpool.kernel.journal import say
from carpool.kernel.lines import parse_object

RETRY_S = 2.0  # until failover is asked again whether it is there, by who is in no hurry
SOME = "?"  # in place of a VIP that we do not know
REFUSED_WAIT_S = 10.0  # after an answer that makes no sense


@dataclass(frozen=True, slots=True)
class Heard:
    """What the VHIDs of this node are at: state and reason by VIP (`51@lan`), of all of them
    (`whole`) or of those that changed."""

    role: str
    vips: Mapping[str, tuple[str, str]]
    whole: bool


@dataclass(frozen=True, slots=True)
class Told:
    """One line of it."""

    master: bool  # whether this node is
    masters: frozenset[str] = frozenset()  # the VIPs that it is of: `51@lan`
    put_back: bool = False  # the files are what they were before a change that nobody confirmed
    moves: Heard | None = None  # to who asked for them


async def watch(socket: Path, *, moves: bool = False) -> AsyncIterator[Told]:
    """How it is now, and each change; ends when failover is lost. With `moves` each line has
    them."""
    try:
        reader, writer = await asyncio.open_unix_connection(socket, limit=ANSWER_MAX_BYTES)
    except OSError:
        return
    try:
        asked = {"command": "watch", **({"moves": True} if moves else {})}
        writer.write(json.dumps(asked).encode() + b"\n")
        await writer.drain()
        while line := await reader.readline():
            answer = parse_object(line) or {}
            if not isinstance(answer.get("master"), bool):
                say(f"agent: failover answers {line[:200]!r} to who watches it")
                await asyncio.sleep(REFUSED_WAIT_S)
                return
            put_back = answer.get("reload") is True
            heard = _heard(answer) if moves else None
            yield Told(bool(answer["master"]), _masters(answer), put_back, heard)
    except (OSError, ValueError):  # ValueError: a line that is too long
        return
    finally:
        writer.close()


def _heard(answer: Mapping[str, object]) -> Heard | None:
    """None: a failover process of before an upgrade, which knows of no moves."""
    role, vips = answer.get("role"), answer.get("vips")
    if not isinstance(role, str) or not isinstance(vips, dict):
        return None
    found = {
        str(vip): (str(pair[0]), str(pair[1]))
        for vip, pair in vips.items()
        if isinstance(pair, list) and len(pair) == 2
    }
    return Heard(role, found, answer.get("whole") is True)


def _masters(answer: Mapping[str, object]) -> frozenset[str]:
    """A failover that an upgrade let run may be older than this, and not say which VIPs."""
    masters = answer.get("masters", [SOME] if answer["master"] else [])
    return frozenset(map(str, masters if isinstance(masters, list) else ()))


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
