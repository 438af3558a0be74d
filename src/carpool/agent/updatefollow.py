"""Follows an update of a node to its end, whoever restarts meanwhile: as steps of a job.

Room: agent. Asks again and again how far it is; a node that is silent restarts its agent, or
reboots, and is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from carpool.agent.job import Event
from carpool.agent.packagepeer import UpdateTold
from carpool.agent.updates import ENDED
from carpool.errors import PeerError, UnreachableError

ASK_EVERY_S = 0.5
BACK_MAX_S = 900.0  # a reboot with a check of its memory and disks

Ask = Callable[[int, int], Awaitable[UpdateTold]]


async def follow(
    ask: Ask,
    peer: str,
    now_s: Callable[[], float],
    *,
    number: str = "",
    at: int = 0,
    notes: int = 0,
    back_max_s: float = BACK_MAX_S,
) -> AsyncIterator[Event]:
    """`number`: which one it must be; "": whichever is there. `peer`: "" for this node. Raises
    CarpoolError when it is not to be followed any more."""
    silent_since_s: float | None = None
    while True:
        try:
            told = await ask(at, notes)
        except UnreachableError as error:
            if silent_since_s is None:
                silent_since_s = now_s()
                yield {"step": "update", "peer": peer, "text": f"no answer yet: {error.message}"}
            if now_s() - silent_since_s > back_max_s:
                raise UnreachableError(
                    f"it has not come back within {back_max_s / 60:.0f} min: {error.message}",
                    hint=f"look at its console; {error.hint}",
                ) from error
            await asyncio.sleep(ASK_EVERY_S)
            continue
        if silent_since_s is not None:
            took_s, silent_since_s = now_s() - silent_since_s, None
            yield {"step": "update", "peer": peer, "text": f"answers again, after {took_s:.0f} s"}
        if not told.number or number not in ("", told.number):
            raise PeerError(
                "it knows nothing of this update" if number else "nothing was updated there yet",
                hint="`carpool events` on it may tell more" if number else "",
            )
        number = told.number
        if told.lines:
            yield {"step": "lines", "peer": peer, "lines": told.lines, "at": told.at, "told": True}
        for text in told.notes:
            notes += 1
            yield {"step": "update", "peer": peer, "text": text, "notes": notes}
        went_on = told.at > at
        at = max(at, told.at)
        if told.phase == ENDED and not went_on:
            for file in told.kept:
                text = f"kept {file} as it is here; the new one is beside it, as .dpkg-dist"
                yield {"step": "warning", "peer": peer, "text": text}
            yield _end(told, peer)
            return
        if not went_on:
            await asyncio.sleep(ASK_EVERY_S)


def _end(told: UpdateTold, peer: str) -> Event:
    if told.error:
        end = {"outcome": "failed", "error": told.error, "hint": told.hint}
    else:
        end = {"outcome": "updated" if told.install else "rebooted"}
    return {"step": "end", "peer": peer, **end}
