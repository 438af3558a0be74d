"""What the agent says of failing checks, as reasons of demotion: for as long as it says so.

Room: machine. The set replaces the one before; nothing is added up, nothing is left behind by an
agent that died.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from carpool.machine.demotion import CHECK, Rank, check_failing
from carpool.machine.effects import Effect, Note, SetChecks
from carpool.model.scripts import WEIGHT_MAX

if TYPE_CHECKING:
    from carpool.machine.engine import Engine


def rank_of(weight: int) -> int:
    """Like a link on which nothing can be sent, in proportion to the weight: a node that does not
    do its work stands behind one that an operator took out and that does."""
    return max(1, round(Rank.SEND_ERRORS * weight / WEIGHT_MAX))


def set_checks(engine: Engine, event: SetChecks, now_s: float) -> list[Effect]:
    """These fail, and no others, for the time of the lease."""
    done: list[Effect] = []
    wanted = {check_failing(one.name): one for one in event.failing}
    for reason in _held(engine):
        if reason not in wanted:
            done += engine.demote(reason, 0, False, now_s)
    for reason, one in wanted.items():
        rank, weight = rank_of(one.weight), one.weight
        if engine.demotion.weight_of(reason) not in (None, weight):
            engine.demotion.set(reason, 0, False)  # the change is told, and advertised
        done += engine.demote(reason, rank, True, now_s, weight=weight, text=one.text)
        engine.demotion.say(reason, one.text)
    engine.checks_until_s = now_s + event.lease_s if wanted else None
    return done


def expire(engine: Engine, now_s: float) -> list[Effect]:
    """Nobody has said for the time of the lease that they still fail."""
    if engine.checks_until_s is None or now_s < engine.checks_until_s:
        return []
    engine.checks_until_s = None
    done: list[Effect] = []
    for reason in _held(engine):
        text = f"{reason} is forgotten: the agent has not said so again (carpool run agent)"
        done += [*engine.demote(reason, 0, False, now_s), Note("check", text)]
    return done


def _held(engine: Engine) -> list[str]:
    return [one.reason for one in engine.demotion.reasons() if one.reason.startswith(CHECK)]
