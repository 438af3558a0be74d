"""A hook runs serially with itself, and the newest state wins."""

from __future__ import annotations

from carpool.machine.hookqueue import HookQueue, Job
from carpool.machine.moves import Move


def move(subject: str, new: str) -> Move:
    return Move(subject, None, new, "")


def test_one_at_a_time_oldest_first() -> None:
    queue: HookQueue[Move] = HookQueue()
    assert queue.take() is None
    for subject in ("group", "51@lan"):
        queue.offer(move(subject, "MASTER"))
    assert queue.take() == Job(move("group", "MASTER"))
    assert queue.running
    assert queue.take() is None
    queue.ended()
    assert queue.take() == Job(move("51@lan", "MASTER"))
    assert len(queue) == 0


def test_newer_takes_the_place_of_older_about_the_same() -> None:
    queue: HookQueue[Move] = HookQueue()
    queue.offer(move("group", "MASTER"))
    assert queue.take() == Job(move("group", "MASTER"))
    for new in ("BACKUP", "MASTER", "BACKUP"):
        queue.offer(move("group", new))
        queue.offer(move("51@lan", new))
    assert len(queue) == 2
    queue.ended()
    assert queue.take() == Job(move("group", "BACKUP"), overtaken=2)
