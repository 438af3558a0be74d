"""`[damping]` of group.toml: how often the group may move of its own will.

Room: model. Values only; `machine/damper.py` goes by them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

HOLD_DOWN_MAX_S = 3600
PREEMPT_DELAY_MAX_S = 86400
MOVES_MAX = 1000
MOVES_MIN = 2  # one away, and one back


@dataclass(frozen=True, slots=True)
class Damping:
    """Nothing is damped without it. A master that dies is replaced at once in any case."""

    hold_down_s: int = 0  # after a move: none of its own will for so long
    preempt_delay_s: int = 0  # a node that is well again waits so long before it takes over
    moves_per_hour: int = 0  # then the group stays put; 0: no limit


UNDAMPED = Damping()


def ranges(damping: Damping) -> Iterator[tuple[str, str, str]]:
    """What is out of its range: key, found, expected."""
    for key, found_s, most_s in (
        ("hold_down", damping.hold_down_s, HOLD_DOWN_MAX_S),
        ("preempt_delay", damping.preempt_delay_s, PREEMPT_DELAY_MAX_S),
    ):
        if found_s > most_s:
            yield key, f'"{found_s}s"', f'a time from "0s" to "{most_s}s"'
    moves = damping.moves_per_hour
    if moves and not MOVES_MIN <= moves <= MOVES_MAX:
        yield "moves_per_hour", str(moves), f"0, or a number from {MOVES_MIN} to {MOVES_MAX}"
