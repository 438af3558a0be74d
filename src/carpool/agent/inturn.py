"""A synchronisation with one peer: at once, or group.toml first where the peer's own is in the way.

Room: agent. What goes at once is kept or put back as one. A peer judges an offer by the sections
that its group.toml defines: with a new one it must have that file before the rest. Refuses to know
what a step does (`send.py`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace

from carpool.agent.apply import Refused
from carpool.agent.client import PeerClient as Peer
from carpool.agent.job import Event
from carpool.agent.send import Sender, Wish
from carpool.api.sections import CARPOOL
from carpool.errors import CarpoolError, DefinitionError
from carpool.kernel import clock
from carpool.model.section import Section

NOTHING = "nothing to do"


async def in_turn(
    sender: Sender,
    sections: Sequence[Section],
    peer: Peer,
    wish: Wish,
    brought: Callable[[], Awaitable[None]],
) -> AsyncIterator[Event]:
    """Each step; one `end`, whatever it took. `brought` is awaited when the peer has group.toml,
    and the rest has yet to come. Raises CarpoolError: what is over there then, it says."""
    begun_s = clock.monotonic_s()
    try:
        async for event in sender.sync(sections, peer, wish):
            yield event
        return
    except DefinitionError as error:
        group = [one for one in sections if one.name == CARPOOL]
        rest = [one for one in sections if one.name != CARPOOL]
        if not (group and rest):
            raise
        if wish.confirm_within_s:
            raise Refused(
                f"{error.message}: it needs the group.toml of this node first, and only one change "
                "at a time can wait to be confirmed; nothing was changed there",
                hint="`carpool sync carpool` first, then this again",
            ) from error
        yield {"step": "first", "peer": peer.name, "why": error.message}
    outcome: object = ""
    async for event in sender.sync(group, peer, replace(wish, restart_services=False)):
        if event.get("step") != "end" or "error" in event:
            yield event
        if event.get("step") == "end":
            if "error" in event:
                return
            outcome = event.get("outcome")
    await brought()
    there = f"{peer.name} has group.toml now, and not the rest: "
    try:
        async for event in sender.sync(rest, peer, wish):
            if event.get("step") != "end":
                yield event
                continue
            end = {**event, "took_s": clock.monotonic_s() - begun_s}
            if "error" in end:
                end["error"] = f"{there}{end['error']}"
            elif end["outcome"] == NOTHING:
                end["outcome"] = outcome
            yield end
    except CarpoolError as error:
        error.message = f"{there}{error.message}"
        raise
