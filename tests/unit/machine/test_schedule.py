"""What is due, what was missed, and what a clock that leaps does to it."""

from __future__ import annotations

from calendar import timegm
from dataclasses import replace
from time import gmtime

import pytest

from carpool.machine.schedule import (
    BEHIND_MAX_S,
    CUT_OFF,
    LATE_MAX_S,
    SETTLE_S,
    Due,
    Memory,
    Schedule,
    State,
)
from carpool.model.calendar import Civil

THREE = timegm((2026, 11, 24, 3, 0, 0))  # a Tuesday, when "03:00" is due
DAY_S = 86400
ALL = {"51@lan": "MASTER", "52@wan": "MASTER"}
SPLIT = {"51@lan": "MASTER", "52@wan": "BACKUP"}
NONE = {"51@lan": "BACKUP", "52@wan": "BACKUP"}


class Utc:
    """A zone where every day has 24 hours."""

    def civil(self, wall_s: float) -> Civil:
        return Civil(*gmtime(wall_s)[:6])

    def wall_s(self, civil: Civil) -> int:
        return timegm(civil)


class Node:
    """A schedule that is driven as the agent does it: `wall_s` may leap, `now_s` may not."""

    def __init__(
        self,
        wall_s: float,
        expression: str = "03:00",
        jitter_s: float = 0,
        memory: Memory | None = None,
        draws: tuple[float, ...] = (0.0,) * 99,
    ) -> None:
        self.wall_s = wall_s
        self.now_s = 1000.0
        self.draws = list(draws)
        self.runs: list[float] = []
        known = Schedule.recall(memory, expression, wall_s)
        self.schedule = Schedule(known, jitter_s, Utc(), self.draw, self.now_s)

    def draw(self) -> float:
        return self.draws.pop(0)

    def look(self) -> Due | None:
        return self.schedule.look(self.wall_s, self.now_s)

    def go(self, seconds: float, roles: dict[str, str] = ALL, why: str = "") -> None:
        """Live on for so long, and run what is due; a run takes no time."""
        until_s = self.now_s + seconds
        while True:
            due = self.look()
            if due is None or due.begin_s - self.wall_s > until_s - self.now_s:
                break
            self.pass_(max(due.begin_s - self.wall_s, 0))
            before = self.schedule.memory
            if self.schedule.take(due, roles, self.wall_s, self.now_s):
                self.runs.append(self.wall_s)
                self.schedule.ended(why, self.wall_s)
            elif self.schedule.memory is before:
                if self.now_s + 1 > until_s:
                    break
                self.pass_(1)
        self.pass_(until_s - self.now_s)

    def pass_(self, seconds: float) -> None:
        self.wall_s += seconds
        self.now_s += seconds

    def state(self) -> State:
        return self.schedule.memory.state

    @property
    def memory(self) -> Memory:
        return self.schedule.memory


def settled(wall_s: float, expression: str = "03:00", jitter_s: float = 0) -> Node:
    """One that runs long enough to be what it is."""
    node = Node(wall_s - SETTLE_S, expression, jitter_s, draws=(0.5,) * 999)
    node.pass_(SETTLE_S)
    return node


def test_it_runs_when_it_is_due_and_at_no_other_time() -> None:
    node = settled(THREE - 7200)
    assert node.look() == Due(THREE, THREE)
    assert node.schedule.next_s(node.wall_s) == THREE
    node.go(2 * DAY_S)
    assert node.runs == [THREE, THREE + DAY_S]
    assert node.memory == Memory(
        "03:00", THREE + DAY_S, State.OK, "", THREE + DAY_S, False, THREE + DAY_S, THREE + DAY_S
    )
    assert node.look() == Due(THREE + 2 * DAY_S, THREE + 2 * DAY_S)


def test_jitter_is_drawn_once_for_each() -> None:
    node = Node(THREE - 7200, jitter_s=600, draws=(0.25, 0.5, 0.75))
    assert node.look() == node.look() == Due(THREE, THREE + 150)
    node.go(2 * DAY_S)
    assert node.runs == [THREE + 150, THREE + DAY_S + 300]
    assert node.look() == Due(THREE + 2 * DAY_S, THREE + 2 * DAY_S + 450)


def test_while_it_waits_for_its_moment_it_is_the_next() -> None:
    node = settled(THREE - 1, jitter_s=600)
    node.go(11)
    assert node.schedule.next_s(node.wall_s) == THREE
    node.go(600)
    assert node.runs == [THREE + 300]
    assert node.schedule.next_s(node.wall_s) == THREE + DAY_S


def test_a_failure_is_told_until_the_next_success() -> None:
    node = settled(THREE - 1)
    node.go(10, why="fw2 does not answer")
    assert (node.memory.state, node.memory.why) == (State.FAILED, "fw2 does not answer")
    assert (node.memory.since_s, node.memory.run_s, node.memory.success_s) == (THREE, THREE, None)
    node.go(DAY_S)
    assert (node.memory.state, node.memory.why) == (State.OK, "")
    assert node.memory.success_s == THREE + DAY_S


def test_what_is_due_during_a_run_is_not_done_after_it() -> None:
    node = settled(THREE, "minutely")
    node.go(60)
    due = node.look()
    assert due is not None and due.begin_s == THREE + 120
    node.pass_(60)
    assert node.schedule.take(due, ALL, node.wall_s, node.now_s)
    assert node.memory.running and node.memory.run_s == THREE + 120
    assert node.state() is State.OK, "that of the run before"
    node.pass_(150)
    node.schedule.ended("", node.wall_s)
    assert node.look() == Due(THREE + 300, THREE + 300)


# ------------------------------------------------------------------------------------- roles


def test_a_node_that_is_no_primary_is_silent() -> None:
    for roles in (NONE, {}):
        node = settled(THREE - 1)
        node.go(DAY_S, roles)
        assert node.runs == []
        assert (node.memory.state, node.memory.why) == (State.STANDBY, "")


def test_a_new_primary_runs_and_an_old_one_forgets_its_failure() -> None:
    node = settled(THREE - 1)
    node.go(DAY_S, why="x")
    node.go(LATE_MAX_S, NONE)
    assert node.state() is State.FAILED, "it may yet become the primary"
    node.go(DAY_S - LATE_MAX_S, NONE)
    assert node.state() is State.STANDBY
    node.go(DAY_S)
    assert node.runs == [THREE, THREE + 2 * DAY_S]
    assert node.state() is State.OK


@pytest.mark.parametrize("roles", [NONE, SPLIT, {}])
def test_a_group_that_moves_just_then_loses_no_run(roles: dict[str, str]) -> None:
    node = settled(THREE - 1, jitter_s=600)
    node.go(600 + LATE_MAX_S, roles)
    node.go(60)
    assert node.runs == [THREE + 600 + LATE_MAX_S - 1]
    node = settled(THREE - 1, jitter_s=600)
    node.go(600 + LATE_MAX_S + 1, roles)
    node.go(60)
    assert node.runs == []


def test_it_waits_for_that_until_the_next_is_due() -> None:
    node = settled(THREE, "minutely")
    node.go(119, NONE)
    assert node.memory.state is State.STANDBY and node.memory.until_s == THREE
    node.go(10)
    assert node.runs == [THREE + 119, THREE + 120]


def test_a_group_with_two_masters_synchronises_nothing_and_says_so() -> None:
    node = settled(THREE - 1)
    node.go(2 * DAY_S, SPLIT)
    assert node.runs == []
    assert (node.memory.state, node.memory.why) == (State.MISSED, "not MASTER of 52@wan")
    assert node.memory.since_s == THREE, "the first of them"


def test_a_boot_is_given_time_to_become_the_primary() -> None:
    known = Memory("03:00", THREE - DAY_S)
    node = Node(THREE + 30, memory=known)
    node.go(SETTLE_S / 2, NONE)
    assert node.state() is State.NONE
    node.go(SETTLE_S / 2 - 2)
    assert len(node.runs) == 1 and node.state() is State.OK
    node = Node(THREE + 30, memory=known)
    node.go(LATE_MAX_S, NONE)
    assert (node.runs, node.memory.state) == ([], State.STANDBY)


# ------------------------------------------------------------------------------------ missed


def test_a_short_absence_misses_nothing() -> None:
    node = Node(THREE + LATE_MAX_S - 1, memory=Memory("03:00", THREE - 1))
    node.go(0)
    assert node.runs == [THREE + LATE_MAX_S - 1]


def test_jitter_is_time_to_come_back_in() -> None:
    known = Memory("03:00", THREE - 1)
    node = Node(THREE + 400, jitter_s=600, memory=known, draws=(0.5,) * 9)
    node.go(0)
    assert node.runs == [THREE + 400], "drawn anew, and that is over already"
    node = Node(THREE + LATE_MAX_S + 601, jitter_s=600, memory=known, draws=(0.5,) * 9)
    node.go(0)
    assert (node.runs, node.memory.state) == ([], State.MISSED)


def test_a_long_absence_misses_one_and_catches_up_on_none() -> None:
    known = Memory(
        "03:00", THREE - 1, State.OK, "", THREE - DAY_S, False, THREE - DAY_S, THREE - DAY_S
    )
    node = Node(THREE + 3 * DAY_S + 7200, memory=known)
    assert node.look() == Due(THREE, node.wall_s, missed=True)
    node.go(60)
    assert node.runs == []
    assert (node.memory.state, node.memory.since_s) == (State.MISSED, THREE)
    assert "no agent ran" in node.memory.why
    assert node.memory.success_s == THREE - DAY_S
    node.go(DAY_S)
    assert len(node.runs) == 1 and node.state() is State.OK


def test_after_a_boot_it_is_told_by_who_becomes_the_primary() -> None:
    node = Node(THREE + 7200, memory=Memory("03:00", THREE - 1))
    node.go(SETTLE_S / 2, NONE)
    assert node.state() is State.NONE
    node.go(1)
    assert (node.runs, node.memory.state) == ([], State.MISSED)


def test_on_a_backup_nothing_was_missed() -> None:
    node = Node(THREE + 7200, memory=Memory("03:00", THREE - 1))
    node.go(SETTLE_S + 2, NONE)
    assert node.state() is State.STANDBY


def test_one_that_is_due_now_makes_up_for_those_that_were_missed() -> None:
    node = Node(THREE + 5, "hourly", memory=Memory("hourly", THREE - 5 * 3600))
    node.go(60)
    assert node.runs == [THREE + 5] and node.state() is State.OK


@pytest.mark.parametrize("roles", [ALL, SPLIT, NONE], ids=["primary", "split", "backup"])
def test_all_that_was_missed_is_dealt_with_once(roles: dict[str, str]) -> None:
    node = Node(THREE + 1800 - SETTLE_S, "hourly", memory=Memory("hourly", THREE - 365 * DAY_S))
    node.pass_(SETTLE_S)
    due = node.look()
    assert due is not None and due.missed
    assert not node.schedule.take(due, roles, node.wall_s, node.now_s)
    assert node.look() == Due(THREE + 3600, THREE + 3600)


def test_each_second_of_a_year_is_missed_at_once() -> None:
    node = Node(THREE, "*:*:*", memory=Memory("*:*:*", THREE - 365 * DAY_S))
    node.go(1)
    assert node.runs == [THREE, THREE + 1]


def test_a_schedule_that_was_changed_has_missed_nothing() -> None:
    known = Memory("02:00", THREE - DAY_S, State.MISSED, "x", THREE, False, THREE - 9, THREE - 99)
    fresh = Memory("03:00", THREE + 7200, run_s=THREE - 9, success_s=THREE - 99)
    assert Node(THREE + 7200, memory=known).memory == fresh
    failed = replace(known, state=State.FAILED)  # what it did not bring is not there yet
    node = Node(THREE + 7200, memory=failed)
    assert node.memory == replace(fresh, state=State.FAILED, why="x", since_s=THREE)
    node = Node(THREE + 7200, memory=replace(failed, running=True))
    assert node.memory == fresh
    node = Node(THREE + 7200, memory=known)


def test_a_run_that_the_agent_did_not_survive_has_failed() -> None:
    known = Memory("03:00", THREE, State.OK, "", THREE, True, THREE)
    node = Node(THREE + 20, memory=known)
    node.go(3600)
    assert node.runs == [] and not node.memory.running, "and is not begun again"
    assert (node.memory.state, node.memory.why) == (State.FAILED, CUT_OFF)


def test_a_schedule_may_end() -> None:
    node = settled(THREE - 60, "2026-11-24 03:00")
    node.go(DAY_S)
    assert len(node.runs) == 1
    assert node.look() is None and node.schedule.next_s(node.wall_s) is None


# ------------------------------------------------------------------------------------- clock


@pytest.mark.parametrize("leap_s", [-3600, -7200])
def test_a_clock_that_is_put_back_runs_nothing_twice(leap_s: float) -> None:
    node = settled(THREE - 1)
    node.go(600)
    node.wall_s += leap_s
    node.go(DAY_S - 598 - leap_s)
    assert node.runs == [THREE, THREE + DAY_S]


def test_nor_does_it_in_an_agent_that_is_new() -> None:
    node = settled(THREE - 1)
    node.go(600)
    after = Node(node.wall_s - 3600, memory=node.memory)
    after.go(7200)
    assert after.runs == []


def test_a_clock_that_is_put_back_before_it_is_due_delays_it() -> None:
    node = settled(THREE - 600)
    node.wall_s -= 3600
    node.go(4201)
    assert node.runs == [THREE]


def test_a_clock_that_is_put_forward_over_it_has_missed_one() -> None:
    node = settled(THREE - 600)
    node.wall_s += 3600
    node.go(60)
    assert (node.runs, node.memory.state) == ([], State.MISSED)
    first = node.memory
    node.go(3600)
    assert node.memory == first, "told once"
    node.go(DAY_S)
    assert len(node.runs) == 1


def test_a_small_leap_over_it_is_only_late() -> None:
    node = settled(THREE - 10)
    node.wall_s += 60
    node.go(60)
    assert node.runs == [THREE + 50]


def test_a_clock_that_was_years_ahead_does_not_end_the_schedule() -> None:
    node = settled(THREE - 60)
    node.wall_s += 10 * 365 * DAY_S + 3600
    node.go(60)
    assert node.state() is State.MISSED
    node.wall_s -= 10 * 365 * DAY_S + 3600
    node.go(10)
    assert node.runs == []
    node.pass_(BEHIND_MAX_S)
    node.go(DAY_S)
    assert node.runs == [THREE + 2 * DAY_S]


# ------------------------------------------------------------------------------------ by hand


def test_what_somebody_does_by_hand_mends_it() -> None:
    node = settled(THREE - 1)
    node.go(10, why="x")
    node.schedule.synchronised(THREE - 3600)
    assert node.state() is State.FAILED, "that was before"
    node.schedule.synchronised(THREE + 60)
    found = node.memory
    assert (found.state, found.why, found.since_s) == (State.OK, "", THREE + 60)
    assert (found.run_s, found.success_s) == (THREE, THREE + 60)
    node.go(DAY_S, why="y")
    node.schedule.synchronised(THREE + 60)
    assert (node.memory.state, node.memory.success_s) == (State.FAILED, THREE + 60)
    node.schedule.synchronised(THREE + 59)
    assert node.memory.success_s == THREE + 60


def test_on_a_standby_it_changes_no_state() -> None:
    node = settled(THREE - 1)
    node.go(600, NONE)
    node.schedule.synchronised(THREE + 600)
    assert node.state() is State.STANDBY and node.memory.success_s == THREE + 600


def test_nothing_runs_or_is_missed_while_the_clock_stands_in_1970() -> None:
    node = Node(60.0, "*:0/10")
    for _ in range(20):
        assert node.look() is None
        node.pass_(600)
    node.wall_s = float(THREE - 60)  # it is set
    node.go(120)
    assert node.runs == [float(THREE)]
    assert node.schedule.memory.state is State.OK


def test_what_ran_before_a_boot_in_1970_is_not_missed_after_it() -> None:
    memory = Memory("03:00", float(THREE), State.OK)
    node = Node(60.0, "03:00", memory=memory)
    for _ in range(50):  # more than a day
        assert node.look() is None
        node.pass_(3600)
    node.wall_s = THREE + 7200.0
    due = node.look()
    assert due is not None and not due.missed
    assert due.point_s == THREE + 86400
