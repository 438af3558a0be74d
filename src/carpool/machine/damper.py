"""Keeps the group from moving to and fro: when a move that nobody needs must wait.

Room: machine. Pure: told who is master, how this node stands, and the time.

Rule 1: only two kinds of moves wait: a return (a preferred node preempting a master that is well),
        and leaving a master because one of its checks fails. A master that is dead, leaves, lost a
        link, cannot send or was told to go is replaced at once, whatever is said here.
Rule 2: each node decides for itself, by the moves that it took part in. A backup that waits is one
        without preemption; a master that stays put does not count its failing checks in what it
        advertises. Both are what any CARP peer understands.
Rule 3: a return is begun only while there is a move left to get away again, so that the group does
        not come to rest on a node that fails.
Rule 4: who is master of anything waits for nothing: a group is not left in halves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from carpool.machine.effects import Effect, Note, State
from carpool.model.damping import MOVES_MAX, UNDAMPED, Damping
from carpool.model.status import DampingStatus, Trouble

if TYPE_CHECKING:
    from carpool.machine.engine import Engine

HOUR_S = 3600.0
LIMIT, HOLD_DOWN, PREEMPT_DELAY = "moves_per_hour", "hold_down", "preempt_delay"


class Wait(NamedTuple):
    cause: str  # the key of [damping] that asks for it
    until_s: float


@dataclass(slots=True)
class Damper:
    """Of one node. `moves`: when it became or ceased to be master, in the last hour."""

    settings: Damping = UNDAMPED
    moves: list[float] = field(default_factory=list)
    well_since_s: float = 0.0  # it takes part, and has been demoted by no less since
    is_master: bool = False
    held: Wait | None = None  # what keeps the group where it is, and something would move it
    _advskew: int | None = None  # as advertised; None: it takes no part
    _heard: bool = False  # it has followed another master
    _asked_s: float | None = None  # when a return was held back last

    # ------------------------------------------------------------------------------- asked

    def holds_back(self, now_s: float) -> bool:
        """Whether a return has to wait. Asked only by who would begin one."""
        wait = self.return_wait(now_s)
        self._asked_s = now_s if wait is not None else None
        return wait is not None

    def return_wait(self, now_s: float) -> Wait | None:
        """What a return waits for."""
        if self.is_master:
            return None
        waits = [self._limit_wait(2, now_s), self._hold_down_wait(now_s)]
        if self.settings.preempt_delay_s:
            until_s = self.well_since_s + self.settings.preempt_delay_s
            waits.append(Wait(PREEMPT_DELAY, until_s) if until_s > now_s else None)
        return _longest(waits)

    def check_wait(self, now_s: float) -> Wait | None:
        """What a master whose checks fail waits for, before it lets others know."""
        if not self.is_master:
            return None
        return _longest([self._limit_wait(1, now_s), self._hold_down_wait(now_s)])

    def _limit_wait(self, needed: int, now_s: float) -> Wait | None:
        """Until `needed` moves are left of this hour's."""
        limit = self.settings.moves_per_hour
        recent = [at_s for at_s in self.moves if at_s > now_s - HOUR_S]
        most = limit - needed  # that may have been
        if not limit or len(recent) <= most:
            return None
        return Wait(LIMIT, recent[len(recent) - 1 - most] + HOUR_S)

    def _hold_down_wait(self, now_s: float) -> Wait | None:
        if not self.moves or not self.settings.hold_down_s:
            return None
        until_s = self.moves[-1] + self.settings.hold_down_s
        return Wait(HOLD_DOWN, until_s) if until_s > now_s else None

    # -------------------------------------------------------------------------------- told

    def stands(self, is_master: bool, heard: bool, advskew: int | None, now_s: float) -> None:
        """How it is by now. `heard`: it follows another; `advskew`: None where it takes no part."""
        if is_master is not self.is_master and (self._heard or self.is_master):
            self.moves = [at_s for at_s in self.moves if at_s > now_s - HOUR_S]
            if len(self.moves) >= MOVES_MAX:
                del self.moves[0]
            self.moves.append(now_s)
        self.is_master = is_master
        self._heard = heard or (self._heard and not is_master and advskew is not None)
        better = self._advskew is None or (advskew is not None and advskew < self._advskew)
        if advskew is not None and better:
            self.well_since_s = now_s
        self._advskew = advskew

    def forget(self) -> None:
        """The operator wants it to move: what was counts no more."""
        self.moves, self.well_since_s = [], float("-inf")

    def hold(self, fails: bool, patience_s: float, now_s: float) -> tuple[Wait | None, Wait | None]:
        """What held before, and what holds now. `fails`: checks do, on this node; `patience_s`: a
        return that was wanted is wanted for so long after a master was heard."""
        before = self.held
        if self.is_master:
            self._asked_s = None
            self.held = self.check_wait(now_s) if fails else None
        else:
            wanted = self._asked_s is not None and now_s - self._asked_s <= patience_s
            self.held = self.return_wait(now_s) if wanted else None
        return before, self.held


def _longest(waits: list[Wait | None]) -> Wait | None:
    there = [wait for wait in waits if wait is not None]
    return max(there, key=lambda wait: wait.until_s, default=None)


# ------------------------------------------------------------------------- for the engine alone


def follow(engine: Engine, now_s: float) -> list[Effect]:
    """After every input: what is damped now, and a word when that begins or ends."""
    damper, vhosts = engine.damper, engine.vhosts.values()
    taking_part = any(v.state in (State.BACKUP, State.MASTER) for v in vhosts)
    advskew = engine.demotion.advskew(engine.config.node.advskew) if taking_part else None
    heard = any(v.master is not None for v in vhosts)
    damper.stands(engine.is_master, heard, advskew, now_s)
    patience_s = max((v.down_after_s for v in vhosts), default=0.0)
    before, held = damper.hold(engine.demotion.has_checks, patience_s, now_s)
    done: list[Effect] = []
    # Before one fails: the first advert after that is to say it already.
    if engine.demotion.pass_checks(damper.check_wait(now_s) is not None):
        for vhost in vhosts:
            if vhost.state is State.MASTER:
                done += vhost.advertise(now_s)
    if held is not None and (before is None or before.cause != held.cause):
        done.append(Note("damping", words(engine, held, now_s)))
        engine.counters["damped"] += 1
    if before is not None and held is None:
        done.append(Note("damping", "nothing keeps the group from moving any more"))
    return done


def deadline_s(engine: Engine) -> float | None:
    """When a master that stays put lets others know of its checks."""
    held = engine.damper.held
    return held.until_s if held is not None and engine.damper.is_master else None


def words(engine: Engine, held: Wait, now_s: float) -> str:
    """What is held and why, for a person."""
    damper, settings = engine.damper, engine.damper.settings
    why = {
        LIMIT: f"{len(damper.moves)} moves in an hour, at most {settings.moves_per_hour}",
        HOLD_DOWN: f"it moved less than {settings.hold_down_s} s ago",
        PREEMPT_DELAY: f"this node waits {settings.preempt_delay_s} s when it is well again",
    }[held.cause]
    left_s = max(held.until_s - now_s, 0.0)
    what = (
        "the group stays here although a check fails"
        if damper.is_master
        else f"the group stays with {engine.masters_heard() or 'its master'}"
    )
    return f"{what}, for {left_s:.0f} s at most: {why} ({held.cause})"


def status_of(engine: Engine, now_s: float) -> DampingStatus:
    damper = engine.damper
    recent = [at_s for at_s in damper.moves if at_s > now_s - HOUR_S]
    held = damper.held
    if held is None:
        return DampingStatus(len(recent), damper.settings.moves_per_hour)
    return DampingStatus(
        len(recent),
        damper.settings.moves_per_hour,
        held.cause,
        round(max(held.until_s - now_s, 0.0), 3),
        words(engine, held, now_s),
    )


def troubles_of(engine: Engine) -> list[Trouble]:
    """A group that moves too often, or a master that stays although it fails, is worth a look."""
    damper = engine.damper
    if damper.held is None or (damper.held.cause != LIMIT and not damper.is_master):
        return []
    text = (
        "this node is MASTER although a check fails: moves are damped"
        if damper.is_master
        else f"the group stays where it is: {damper.settings.moves_per_hour} moves an hour at most"
    )
    return [Trouble("damping", text, "`carpool undamp` lets it move; `carpool events` has why")]
