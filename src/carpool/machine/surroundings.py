"""What is wrong around carpool on a node: its clock, the dates of certificates, room on the disk.

Room: machine. Facts in, troubles out. None of these stops anything: they are told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from carpool.model.facts import Certificate
from carpool.model.status import Trouble

CLOCK_MIN_S = 1735689600.0  # 2025-01-01: there was no carpool before
DAY_S = 86400.0
EXPIRES_SOON_S = 30 * DAY_S
ROOM_MIN_BYTES = 16 * 1024 * 1024  # of the state directory: what one more change may take
SYNCHRONISES_S = 20.0  # that a machine without a clock of its own takes to learn the time


def of_clock(wall_s: float, day: str) -> Iterator[Trouble]:
    """`day` is how people write it. Nothing that moves addresses or connections looks at it."""
    if wall_s < CLOCK_MIN_S:
        yield Trouble(
            "clock",
            f"the clock of this machine says {day}: the schedule waits, and times in events and "
            "history are wrong",
            "Set it: `timedatectl` tells whether it is synchronised; failover does not need it",
            SYNCHRONISES_S,
        )


def of_certificates(found: Iterable[Certificate], wall_s: float) -> Iterator[Trouble]:
    """By a clock that can be believed."""
    if wall_s < CLOCK_MIN_S:
        return
    for one in found:
        if wall_s < one.begins_s:
            what = f"is not valid for {(one.begins_s - wall_s) / DAY_S:.0f} days yet"
        elif wall_s >= one.ends_s:
            what = f"expired {(wall_s - one.ends_s) / DAY_S:.0f} days ago"
        elif wall_s >= one.ends_s - EXPIRES_SOON_S:
            what = f"expires in {(one.ends_s - wall_s) / DAY_S:.0f} days"
        else:
            continue
        yield Trouble(
            f"certificate {one.path}",
            f"{one.path} {what}: it counts because it is pinned, and an older carpool refuses it",
            "`carpool doctor certificates` says how to get one that does not expire",
        )


def of_room(path: str, free_bytes: int) -> Iterator[Trouble]:
    """Failover and states go on without any; a change of the configuration is refused."""
    if free_bytes < ROOM_MIN_BYTES:
        yield Trouble(
            "room",
            f"{free_bytes // 1024:,} KiB are free in {path}: no configuration can be synchronised",
            "Make room",
        )
