"""What has to wait, and for how long. Whole groups that are damped: tests/sim/test_damping.py."""

from __future__ import annotations

from carpool.machine.damper import HOLD_DOWN, HOUR_S, LIMIT, PREEMPT_DELAY, Damper, Wait
from carpool.model.damping import Damping


def moved(damper: Damper, *times_s: float) -> Damper:
    """One that was a backup first, and became and ceased to be master at these times."""
    damper.stands(is_master=False, heard=True, advskew=0, now_s=0.0)
    for at_s in times_s:
        master = not damper.is_master
        damper.stands(is_master=master, heard=not master, advskew=0, now_s=at_s)
    return damper


def test_the_first_election_is_no_move() -> None:
    damper = Damper()
    damper.stands(is_master=False, heard=False, advskew=0, now_s=1.0)
    damper.stands(is_master=True, heard=False, advskew=0, now_s=4.0)
    assert damper.moves == []
    assert moved(Damper(), 5.0, 9.0).moves == [5.0, 9.0]


def test_nothing_waits_without_settings() -> None:
    damper = moved(Damper(), *range(1, 101))
    assert damper.return_wait(100.0) is None
    assert not damper.holds_back(100.0)


def test_a_return_keeps_one_move_in_hand() -> None:
    """Of four, the third may be a return; with three gone only a failing check moves the group."""
    settings = Damping(moves_per_hour=4)
    assert moved(Damper(settings), 10.0, 20.0).return_wait(21.0) is None
    back = moved(Damper(settings), 10.0, 20.0, 30.0, 40.0)
    assert back.return_wait(41.0) == Wait(LIMIT, 20.0 + HOUR_S)
    master = moved(Damper(settings), 10.0, 20.0, 30.0)
    assert master.check_wait(31.0) is None
    full = moved(Damper(settings), 10.0, 20.0, 30.0, 40.0, 50.0)
    assert full.check_wait(51.0) == Wait(LIMIT, 20.0 + HOUR_S)
    assert full.check_wait(20.0 + HOUR_S) is None


def test_hold_down_after_each_move() -> None:
    settings = Damping(hold_down_s=30)
    backup, master = moved(Damper(settings), 10.0, 20.0), moved(Damper(settings), 10.0)
    assert backup.return_wait(49.9) == Wait(HOLD_DOWN, 50.0)
    assert backup.return_wait(50.0) is None
    assert master.check_wait(39.0) == Wait(HOLD_DOWN, 40.0)


def test_a_node_that_got_better_waits_and_one_that_got_worse_does_not_begin_anew() -> None:
    damper = Damper(Damping(preempt_delay_s=60))
    damper.stands(is_master=False, heard=True, advskew=240, now_s=0.0)
    damper.stands(is_master=False, heard=True, advskew=0, now_s=100.0)
    assert damper.return_wait(159.0) == Wait(PREEMPT_DELAY, 160.0)
    damper.stands(is_master=False, heard=True, advskew=10, now_s=150.0)
    assert damper.return_wait(160.0) is None
    damper.stands(is_master=False, heard=False, advskew=None, now_s=200.0)
    damper.stands(is_master=False, heard=True, advskew=0, now_s=300.0)
    assert damper.return_wait(301.0) == Wait(PREEMPT_DELAY, 360.0)


def test_who_is_master_of_anything_waits_for_no_return() -> None:
    damper = moved(Damper(Damping(hold_down_s=30, preempt_delay_s=60)), 10.0)
    assert damper.is_master
    assert damper.return_wait(11.0) is None


def test_what_is_held_is_told_only_while_something_would_move() -> None:
    damper = moved(Damper(Damping(hold_down_s=30)), 10.0, 20.0)
    assert damper.hold(fails=False, patience_s=3.0, now_s=21.0) == (None, None)
    assert damper.holds_back(22.0)
    held = Wait(HOLD_DOWN, 50.0)
    assert damper.hold(fails=False, patience_s=3.0, now_s=22.0) == (None, held)
    assert damper.hold(fails=False, patience_s=3.0, now_s=26.0) == (held, None)
    master = moved(Damper(Damping(hold_down_s=30)), 10.0)
    assert master.hold(fails=False, patience_s=3.0, now_s=11.0) == (None, None)
    assert master.hold(fails=True, patience_s=3.0, now_s=11.0) == (None, Wait(HOLD_DOWN, 40.0))


def test_an_operator_ends_it() -> None:
    settings = Damping(hold_down_s=30, preempt_delay_s=60, moves_per_hour=2)
    damper = moved(Damper(settings), 10.0, 20.0)
    assert damper.holds_back(21.0)
    damper.forget()
    assert not damper.holds_back(21.0)
