"""What a node does when a peer was found silent: takes over at once, or leaves it to adverts.

Room: machine. Reads and changes the engine, for the engine alone. What a silence means, `detect.py`
says.

Rule 1: only who follows the silent peer as its master acts, and only where no advert came since.
Rule 2: it moves as a group: all that the dead one had. Of one that lives, and lost a link, this
        node takes all if nothing is wrong with itself, and nothing otherwise: adverts say who is
        better, and this does not.
Rule 3: whatever else is going on here (a switchover, a stop) comes first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from carpool.machine import effects as fx
from carpool.machine.effects import Effect, State, Verdict

if TYPE_CHECKING:
    from carpool.machine.engine import Engine
    from carpool.machine.vhost import Vhost


def act(engine: Engine, event: fx.Detected, now_s: float) -> list[Effect]:
    """Everything that follows from it."""
    engine.counters[f"silent_{event.verdict}"] += 1
    first = [v for v in engine.on(event.interface) if _follows(engine, v, event)]
    if not first or engine.departure is not None:
        return []
    done: list[Effect] = [fx.Note("bfd", event.text)]
    if event.verdict is Verdict.LINK and engine.demotion:
        return done
    if event.verdict in (Verdict.WELL, Verdict.ALONE):
        return done
    rest = [
        vhost
        for vhost in engine.vhosts.values()
        if vhost not in first
        and _follows(engine, vhost, event, alive=event.verdict is Verdict.LINK)
    ]
    reason = f"BFD: {event.text}"
    for vhost in first:
        done += vhost.take_over(reason, now_s)
    for vhost in rest:
        done += vhost.take_over(f"moving with {first[0].key}: {reason}", now_s)
    return done


def _follows(engine: Engine, vhost: Vhost, event: fx.Detected, *, alive: bool = False) -> bool:
    """Rule 1. `alive`: the peer may be heard there, and is to be relieved."""
    if vhost.state is not State.BACKUP or vhost.fresh or vhost.mute or vhost.master is None:
        return False
    where = vhost.key.interface, vhost.master
    # A master without a name can be the silent one only where nobody has told whose address it is.
    peer = engine.peers.get(where, "" if vhost.key.interface == event.interface else event.peer)
    return peer == event.peer and (alive or vhost.heard_s <= event.alive_s)
