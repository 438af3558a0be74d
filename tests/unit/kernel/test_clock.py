"""The clocks: which goes back never, and who may read the one that does."""

from __future__ import annotations

import re
from pathlib import Path

import carpool
from carpool.kernel.clock import monotonic_s, suspended_s

SOURCE = Path(carpool.__file__).parent
# Who reads the wall clock as a number in the rooms of failover and states, and what for.
READERS = {
    "daemon.py",  # where the counter of adverts starts, once a boot (kernel/counterbase.py)
    "kernel/clock.py",
    "kernel/counterbase.py",
    "kernel/tree.py",  # of the agent: whether a digest may be remembered
    "kernel/zone.py",  # of the agent: what a calendar expression means
    "machine/calendar.py",  # the same
    "machine/checks.py",  # of the agent: when a check begins within its interval
    "machine/schedule.py",  # of the agent: a schedule is by the wall clock
    "machine/surroundings.py",  # says that the clock is wrong
}


def test_monotonic_time_goes_on() -> None:
    assert monotonic_s() <= monotonic_s()


def test_a_machine_that_was_not_suspended_says_so_within_what_reading_takes() -> None:
    assert abs(suspended_s() - suspended_s()) < 1.0


def test_nothing_of_failover_and_states_asks_the_wall_clock_for_a_number() -> None:
    """`wall_iso` is text for people, and stays text: nobody reads it again."""
    found = {
        str(path.relative_to(SOURCE))
        for room in ("daemon.py", "kernel", "machine", "service", "proto")
        for path in ([SOURCE / room] if room.endswith(".py") else (SOURCE / room).rglob("*.py"))
        if re.search(r"\bwall_(us|s)\b", path.read_text(encoding="utf-8"))
    }
    assert found == READERS
