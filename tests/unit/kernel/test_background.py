"""Background: jobs in order, one waiting per key, and a bug that does not stay in the thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from carpool.kernel.background import Background
from tests.netns.lab import wait_until


@pytest.fixture
def background() -> Iterator[Background]:
    made = Background("test")
    yield made
    made.close()


def test_jobs_run_in_the_order_of_their_keys(background: Background) -> None:
    done: list[int] = []
    for number in range(20):
        background.submit(number, lambda number=number: done.append(number))  # type: ignore[misc]

    wait_until(lambda: len(done) == 20)
    assert done == list(range(20))


def test_a_job_that_waits_is_replaced_and_submitting_never_waits(background: Background) -> None:
    begun, go_on = threading.Event(), threading.Event()
    done: list[str] = []

    def slow() -> None:
        begun.set()
        go_on.wait(5)
        done.append("slow")

    background.submit("key", slow)
    assert begun.wait(5)
    for number in range(1000):
        background.submit("key", lambda number=number: done.append(str(number)))  # type: ignore[misc]
    assert done == []

    go_on.set()
    wait_until(lambda: len(done) == 2)
    assert done == ["slow", "999"]


def test_a_bug_is_raised_by_the_next_submission(background: Background) -> None:
    def bug() -> None:
        raise ZeroDivisionError("a bug")

    def raised() -> bool:
        try:
            background.submit("other", lambda: None)
        except ZeroDivisionError:
            return True
        return False

    background.submit("key", bug)
    wait_until(raised)


def test_closing_drops_what_has_not_begun(background: Background) -> None:
    begun, go_on = threading.Event(), threading.Event()
    done: list[str] = []

    def slow() -> None:
        begun.set()
        go_on.wait(5)

    background.submit("slow", slow)
    assert begun.wait(5)
    background.submit("dropped", lambda: done.append("dropped"))
    threading.Timer(0.05, go_on.set).start()

    background.close()
    background.close()

    assert done == []


def test_closing_without_a_job_is_harmless() -> None:
    Background("never used").close()
