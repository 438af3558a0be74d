"""Later: jobs in order, in a thread; what comes of them, in the loop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from carpool.kernel.clock import monotonic_s
from carpool.kernel.later import Later
from carpool.kernel.poller import Poller
from tests.netns.lab import wait_until


@pytest.fixture
def poller() -> Poller:
    return Poller()


@pytest.fixture
def later(poller: Poller) -> Iterator[Later]:
    made = Later("test", poller)
    yield made
    made.close()


def run_until(poller: Poller, done: Callable[[], bool]) -> None:
    deadline_s = monotonic_s() + 10
    while not done() and monotonic_s() < deadline_s:
        poller.run_once(deadline_s)
    assert done()


def test_results_come_in_order_in_the_thread_of_the_loop(poller: Poller, later: Later) -> None:
    results: list[int] = []
    threads: set[int] = set()
    worked: set[int] = set()

    def work(number: int) -> int:
        worked.add(threading.get_ident())
        return number

    def take(number: int) -> None:
        threads.add(threading.get_ident())
        results.append(number)

    for number in range(50):
        later.do(lambda number=number: work(number), take)  # type: ignore[misc]
    assert results == []
    run_until(poller, lambda: len(results) == 50)
    assert results == list(range(50))
    assert threads == {threading.get_ident()}
    assert len(worked) == 1
    assert worked.isdisjoint(threads)


def test_a_slow_job_keeps_nobody_waiting(poller: Poller, later: Later) -> None:
    go_on, results = threading.Event(), list[bool]()
    later.do(lambda: go_on.wait(5), results.append)
    poller.run_once(monotonic_s())
    assert results == []
    go_on.set()
    run_until(poller, lambda: results == [True])


def test_what_comes_of_a_job_may_ask_for_the_next(poller: Poller, later: Later) -> None:
    results: list[int] = []

    def take(number: int) -> None:
        results.append(number)
        if number < 3:
            later.do(lambda: number + 1, take)

    later.do(lambda: 0, take)
    run_until(poller, lambda: len(results) == 4)
    assert results == [0, 1, 2, 3]


def test_a_bug_in_a_job_comes_out(later: Later) -> None:
    later.do(lambda: 1 // 0, lambda _result: None)

    def raised() -> bool:
        try:
            later.do(lambda: None, lambda _result: None)
        except ZeroDivisionError:
            return True
        return False

    wait_until(raised)


def test_what_has_not_begun_is_dropped_at_the_end(poller: Poller) -> None:
    made, begun, go_on = Later("test", poller), threading.Event(), threading.Event()
    did: list[str] = []

    def slow() -> None:
        begun.set()
        go_on.wait(0.2)
        did.append("slow")

    made.do(slow, lambda _result: None)
    made.do(lambda: did.append("dropped"), lambda _result: None)
    assert begun.wait(5)
    made.close()
    assert did == ["slow"]
