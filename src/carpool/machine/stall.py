"""A process that stood still, or a machine that was suspended: what it may still believe.

Room: machine. Reads and changes the engine, for the engine alone.

Rule 1: a master that did nothing until a peer may be master, or until the kernel took its addresses
        back, owns nothing: it gives all VHIDs up, releases first, and says so.
Rule 2: it does not compete for RETRY_AFTER_S: who starves once starves again, and what was stopped
        with it (states) has to catch up. A mastership that nobody else wants ends that.
Rule 3: peers are told so by BFD, where there is any: one that has not noticed takes over now.
Rule 4: of a suspended machine the sockets are empty, too: silence counts from its waking on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from carpool.machine import effects as fx
from carpool.machine.demotion import STALL, Rank
from carpool.machine.effects import Effect
from carpool.machine.vhost import ADDRESS_LIFETIME_S

if TYPE_CHECKING:
    from carpool.machine.engine import Engine

RETRY_AFTER_S = 30.0  # as after a crash
CLAIMS = fx.SendAdvert | fx.Announce | fx.TakeAddresses | fx.HoldAddresses
STALE_S = 0.1  # from waking until the last of what waited has been read


def fenced_at_s(engine: Engine) -> float | None:
    """When a node that does nothing meanwhile has no say any more; None: master of nothing."""
    times = [at_s for v in engine.vhosts.values() if (at_s := v.fenced_at_s) is not None]
    if times and engine.missed_at_s is not None:
        times.append(engine.missed_at_s)  # a peer takes this node for dead then
    return min(times, default=None)


def watched_until(engine: Engine, at_s: float | None, now_s: float) -> bool:
    """Peers miss this node at `at_s` if it says nothing more (None: nobody watches it). True: it
    was missed before, and is to be given a Tick: what it hears on waking does not undo that."""
    before_s = engine.missed_at_s
    if before_s is not None and now_s >= before_s and engine.is_master:
        return True
    engine.missed_at_s = at_s
    return False


def is_too_late(engine: Engine, effect: Effect, handled_s: float, now_s: float) -> bool:
    """Whether an effect of an input that was handled at `handled_s` claims an address for who may
    not do so any more. To be asked before each one: a process may be stopped between two of them.
    Last words of who is master of nothing by now are as old as the input."""
    until_s = fenced_at_s(engine) or handled_s + ADDRESS_LIFETIME_S
    return isinstance(effect, CLAIMS) and now_s >= until_s


def check(engine: Engine, now_s: float) -> list[Effect]:
    """Rules 1 to 3. To be asked before anything else happens."""
    at_s = fenced_at_s(engine)
    if at_s is None or now_s < at_s:
        return []
    done = [effect for vhost in engine.vhosts.values() for effect in vhost.fence(now_s)]
    engine.counters["stalls"] += 1
    engine.retry_s[STALL] = now_s + RETRY_AFTER_S
    text = f"competes again in {RETRY_AFTER_S:g} s"
    done += engine.demote(STALL, Rank.CRASH, True, now_s, text=text)
    return [*done, fx.TellReset()]


def resume(engine: Engine, slept_s: float, now_s: float) -> list[Effect]:
    """Rule 4."""
    engine.counters["suspensions"] += 1
    engine.stale_until_s = now_s + STALE_S
    for vhost in engine.vhosts.values():
        vhost.listen_anew(now_s)
    text = f"this machine was suspended for {slept_s:.1f} s: it listens before it takes over"
    return [fx.Note("stall", text)]
