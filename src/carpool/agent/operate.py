"""Moves the mastership for who asks through the agent: the pages of this node, or those of a peer.

Room: agent. The failover process does it, as for `carpool maintenance` and its like. Who asked is
in the log here, and by deeds.py among the events of all nodes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from carpool.agent.agent import Agent
from carpool.agent.answers import WORDS_MAX
from carpool.agent.waits import ANSWER_WAIT_S, SWITCHOVER_WAIT_S
from carpool.api import control, eventlog
from carpool.api.clean import clean
from carpool.kernel.journal import say
from carpool.model.deed import Deed

SHORT_MAX, TEXT_MAX = 256, 4096  # letters, of what an event tells


_SAID = {
    Deed.MAINTENANCE_ON: "asked for maintenance mode",
    Deed.MAINTENANCE_OFF: "ended maintenance mode",
    Deed.SWITCHOVER: "asked for a switchover",
    Deed.DISABLE: "disabled CARP on this node",
    Deed.ENABLE: "enabled CARP on this node",
}


async def do(agent: Agent, deed: Deed, by: str, reason: str = "") -> dict[str, object]:
    """What came of it, as failover answers. Raises CarpoolError in its words."""
    text = f"{clean(by) or 'a program of this machine'} {_SAID[deed]}"
    text += f": {clean(reason)}" if reason else ""
    say(f"agent: {text}")
    wait_s = SWITCHOVER_WAIT_S if deed is Deed.SWITCHOVER else ANSWER_WAIT_S
    path = control.socket_of(agent.run_dir, control.FAILOVER)
    answer = await asyncio.to_thread(control.request, path, _command(deed, reason), wait_s)
    told: dict[str, object] = {"node": agent.name, "deed": deed.value}
    return told | {key: answer[key] for key in ("changed", "took_s", "text") if key in answer}


async def events(agent: Agent, limit: int) -> dict[str, object]:
    """The newest of this node, oldest first; `error`: why failover does not tell them itself."""
    found = await asyncio.to_thread(eventlog.events, agent.run_dir, limit)
    rows = [_row(one) for one in found.rows if isinstance(one, Mapping)]
    error, hint = ("", "") if found.error is None else (found.error.message, found.error.hint)
    return {"node": agent.name, "events": rows, "error": error[:WORDS_MAX], "hint": hint}


def _row(event: Mapping[str, object]) -> dict[str, object]:
    """What is too long is cut: one odd event hides no other."""
    told = {key: event.get(key) for key in ("time", "kind", "vhost", "old", "new", "text")}
    return {
        key: str(value)[: TEXT_MAX if key == "text" else SHORT_MAX]
        for key, value in told.items()
        if value is not None
    }


def _command(deed: Deed, reason: str) -> Mapping[str, object]:
    match deed:
        case Deed.MAINTENANCE_ON:
            return {"command": "maintenance", "on": True, "reason": clean(reason)}
        case Deed.MAINTENANCE_OFF:
            return {"command": "maintenance", "on": False}
        case _:
            return {"command": deed.value}
