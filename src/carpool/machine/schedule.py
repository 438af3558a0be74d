"""Whether a scheduled synchronisation is due, was missed, and how the last ones went.

Room: machine. Pure: told the time, the roles and what became of a run. Refuses to know what a run
does, and to catch up on one that was missed: who says 02:30 wants nothing changed at 09:00.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from carpool.machine.calendar import Zone, next_run
from carpool.machine.surroundings import CLOCK_MIN_S
from carpool.model.calendar import calendar

LATE_MAX_S = 300.0  # a run that could not begin for so long (no agent, no power) is missed
SETTLE_S = 60.0  # after a boot: until then this node may yet become the primary
BEHIND_MAX_S = 86400.0  # that a clock which was put back is waited for
WHY_MAX = 1000  # characters
MASTER = "MASTER"
CUT_OFF = "the agent ended while it ran"


class State(StrEnum):
    """What became of the last one that was due."""

    NONE = "none"  # there was none yet
    STANDBY = "standby"  # another node's business: this one was no primary
    OK = "ok"
    FAILED = "failed"
    MISSED = "missed"


ALERTS = (State.FAILED, State.MISSED)


@dataclass(frozen=True, slots=True)
class Memory:
    """What must survive a restart. Times are seconds since 1970."""

    schedule: str  # the expression, as it is written
    until_s: float  # whatever was due up to then is dealt with
    state: State = State.NONE
    why: str = ""  # it failed, or was missed
    since_s: float | None = None  # of the state
    running: bool = False  # what `state` says is what the run before it came to
    run_s: float | None = None  # the last run began
    success_s: float | None = None  # everything was synchronised last


@dataclass(frozen=True, slots=True)
class Due:
    """A run that waits for its moment, or for which it is too late."""

    point_s: int  # as the calendar says
    begin_s: float  # with what jitter adds
    missed: bool = False


class Schedule:
    """`draw` gives a number of 0..1, another one each time: what part of the jitter is added."""

    def __init__(
        self,
        memory: Memory,
        jitter_s: float,
        zone: Zone,
        draw: Callable[[], float],
        now_s: float,
    ) -> None:
        self.memory = memory
        self._calendar = calendar(memory.schedule)
        self._jitter_s = jitter_s
        self._window_s = LATE_MAX_S + jitter_s
        self._zone = zone
        self._draw = draw
        self._started_s = now_s
        self._drawn: tuple[int, float] = (0, 0.0)  # for which point, and what
        self._behind_s: float | None = None  # since when the clock is

    @staticmethod
    def recall(known: Memory | None, schedule: str, wall_s: float) -> Memory:
        """What to begin with. Another schedule missed nothing before it was there, but makes no
        failure of a run good."""
        if known is None or known.schedule != schedule:
            begun = Memory(schedule, wall_s)
            if known is not None:
                begun = replace(begun, run_s=known.run_s, success_s=known.success_s)
            if known is not None and known.state is State.FAILED and not known.running:
                return replace(begun, state=known.state, why=known.why, since_s=known.since_s)
            return begun
        if known.running:
            cut_off = replace(known, state=State.FAILED, why=CUT_OFF, since_s=wall_s)
            return replace(cut_off, running=False)
        return known

    def next_s(self, wall_s: float) -> int | None:
        """The next that the calendar has, without jitter; None: it has none any more."""
        after_s = max(self.memory.until_s, wall_s - self._window_s)
        return next_run(self._calendar, after_s, self._zone)

    def look(self, wall_s: float, now_s: float) -> Due | None:
        """What is due or comes next: to be begun when `begin_s` is there. `now_s` is monotonic.
        None also while the clock stands before there was a carpool: it has not been set yet."""
        if wall_s < CLOCK_MIN_S:
            return None
        self._mind_the_clock(wall_s, now_s)
        until_s = self.memory.until_s
        first = next_run(self._calendar, until_s, self._zone)
        if first is None:
            return None
        if first <= wall_s:
            point = self.next_s(wall_s)
            if point is None or point > wall_s:
                return Due(first, wall_s, missed=True)
            first = point
        if self._drawn[0] != first:
            self._drawn = first, self._draw() * self._jitter_s
        return Due(first, first + self._drawn[1])

    def take(self, due: Due, roles: Mapping[str, str], wall_s: float, now_s: float) -> bool:
        """Deal with one whose `begin_s` is there; `roles` by VIP, empty when failover is silent.
        True: run it now, then say `ended`."""
        masters = [role == MASTER for role in roles.values()]
        is_primary = bool(masters) and all(masters)
        if not is_primary and self._may_yet(due, wall_s, now_s):
            return False  # look again
        # Who is no primary may yet become it for a later one that has come meanwhile.
        memory = replace(self.memory, until_s=wall_s if is_primary or due.missed else due.point_s)
        if not any(masters):
            self.memory = _in(memory, State.STANDBY, "", wall_s)
        elif not is_primary:
            others = ", ".join(sorted(vip for vip, role in roles.items() if role != MASTER))
            self.memory = _in(memory, State.MISSED, f"not MASTER of {others}", due.point_s)
        elif due.missed:
            why = "no agent ran, or the machine slept, or its clock leapt"
            self.memory = _in(memory, State.MISSED, why, due.point_s)
        else:
            self.memory = replace(memory, running=True, run_s=wall_s)
            return True
        return False

    def _may_yet(self, due: Due, wall_s: float, now_s: float) -> bool:
        """Whether this node may yet become the primary in time: after a boot, or because the group
        moves just then. A second run in the same minutes finds nothing to do."""
        if now_s - self._started_s < SETTLE_S:
            return True
        if due.missed:
            return False
        after = next_run(self._calendar, due.point_s, self._zone)
        return after is None or wall_s < after

    def ended(self, why: str, wall_s: float) -> None:
        """The run is over; `why` it failed, or "". What was due meanwhile is not done again."""
        until_s = max(wall_s, self.memory.until_s)
        memory = replace(self.memory, until_s=until_s, since_s=wall_s, running=False)
        if why:
            self.memory = replace(memory, state=State.FAILED, why=why[:WHY_MAX])
        else:
            self.memory = replace(memory, state=State.OK, why="", success_s=wall_s)

    def synchronised(self, wall_s: float) -> None:
        """Somebody synchronised everything by hand: that mends what failed or was missed."""
        if self.memory.success_s is None or wall_s > self.memory.success_s:
            self.memory = replace(self.memory, success_s=wall_s)
            if self.memory.state in ALERTS and wall_s >= (self.memory.since_s or 0.0):
                self.memory = replace(self.memory, state=State.OK, why="", since_s=wall_s)

    def _mind_the_clock(self, wall_s: float, now_s: float) -> None:
        """What was done already is not done again when the clock is put back: it is waited for. But
        not for ever, or a clock that was years ahead for a minute would end the schedule."""
        if self.memory.until_s < CLOCK_MIN_S:  # it began before the clock was set
            self.memory = replace(self.memory, until_s=wall_s)
        if wall_s >= self.memory.until_s:
            self._behind_s = None
        elif self._behind_s is None:
            self._behind_s = now_s
        elif now_s - self._behind_s > BEHIND_MAX_S:
            self._behind_s = None
            self.memory = replace(self.memory, until_s=wall_s)


def _in(memory: Memory, state: State, why: str, since_s: float) -> Memory:
    """In this state, since it began: the same thing again is nothing new."""
    if (memory.state, memory.why) == (state, why):
        return memory
    return replace(memory, state=state, why=why, since_s=since_s)
