"""A node on its way out: of the process, of CARP, or of the mastership.

Room: machine. Reads and changes the engine, for the engine alone.

Rule 1: leaving is make-before-break: we own the addresses until a successor is heard, but at most
        for LEAVE_WAIT_S.
Rule 2: a switchover that nobody answers is taken back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from carpool.machine import effects as fx
from carpool.machine.demotion import CRASH, SWITCHOVER, Rank
from carpool.machine.effects import Effect, State

if TYPE_CHECKING:
    from carpool.machine.engine import Engine

LEAVE_WAIT_S = 0.3  # a successor answers within milliseconds or not at all
SWITCHOVER_WAIT_S = 1.0

DepartureKind = Literal["stop", "disable", "switchover"]


@dataclass(slots=True)
class Departure:
    kind: DepartureKind
    started_s: float
    until_s: float


def depart(engine: Engine, kind: DepartureKind, wait_s: float, now_s: float) -> list[Effect]:
    """Say goodbye; a stop cuts everything else short."""
    earlier = engine.departure
    if earlier is not None and earlier.kind in (kind, "stop"):
        return []
    done: list[Effect] = []
    if earlier is not None and earlier.kind == "switchover":
        engine.demotion.set(SWITCHOVER, Rank.SWITCHOVER, False)
        text = f"cut short: this node was told to {kind}"
        done.append(fx.SwitchoverDone(False, now_s - earlier.started_s, text))
    if kind == "disable":
        engine.enabled = False
    engine.departure = Departure(kind, now_s, now_s + wait_s)
    return done + [e for vhost in engine.vhosts.values() for e in vhost.leave(now_s)]


def finish(engine: Engine, now_s: float) -> list[Effect]:
    """What is due of it."""
    departure = engine.departure
    if departure is None:
        return []
    over = not engine.is_master or now_s >= departure.until_s
    if over:
        engine.departure = None
    if departure.kind == "switchover":
        return _end_switchover(engine, now_s - departure.started_s, now_s) if over else []
    state = State.DISABLED if departure.kind == "disable" else State.INIT
    reason = "disabled by an operator" if departure.kind == "disable" else "stopping"
    # What is handed over leaves the game at once: as BACKUP it would preempt its successor.
    gone = [v for v in engine.vhosts.values() if over or v.state is not State.MASTER]
    done = [effect for v in gone for effect in v.on_unusable(now_s, reason, state)]
    return [*done, fx.Stopped()] if over and departure.kind == "stop" else done


def stay(engine: Engine, now_s: float) -> list[Effect]:
    """Go on as master where nobody came."""
    return [e for vhost in engine.vhosts.values() for e in vhost.stay(now_s)]


def _end_switchover(engine: Engine, took_s: float, now_s: float) -> list[Effect]:
    successors = engine.masters_heard()
    if not engine.is_master and successors:
        text = f"{successors} took over"
        return [fx.SwitchoverDone(True, took_s, text), fx.Note("switchover", text)]
    done: list[Effect] = []
    for reason in (SWITCHOVER, CRASH):  # first: a peer would preempt who advertises demoted
        engine.retry_s.pop(reason, None)
        if engine.demotion.set(reason, Rank.SWITCHOVER, False):
            done.append(fx.Note("demotion", f"no longer demoted: {reason}"))
    done += stay(engine, now_s)
    text = f"nobody took over within {took_s:.1f} s; "
    text += (
        "this node stays master: is a peer running?"
        if engine.is_master
        else "this node lost the mastership meanwhile: see `carpool events`"
    )
    return [*done, fx.SwitchoverDone(False, took_s, text), fx.Note("switchover", text)]
