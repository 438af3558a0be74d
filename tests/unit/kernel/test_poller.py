"""Poller on pipes and signals of this process."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from carpool.kernel.clock import monotonic_s
from carpool.kernel.poller import Poller


@pytest.fixture
def poller() -> Iterator[Poller]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    made = Poller()
    yield made
    made.close()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


Pair = tuple[socket.socket, socket.socket]


def test_a_readable_file_is_called_back_until_it_is_read(poller: Poller, pair: Pair) -> None:
    calls: list[bytes] = []
    poller.add(pair[0], lambda: calls.append(b""))
    pair[1].send(b"x")
    poller.run_once(None)
    poller.run_once(None)
    assert len(calls) == 2
    pair[0].recv(1)

    poller.run_once(monotonic_s())

    assert len(calls) == 2


@pytest.mark.parametrize("after_s", [0.0005, 0.005, 0.02])
def test_it_wakes_at_the_deadline_and_not_before(poller: Poller, after_s: float) -> None:
    late_s = []
    for _try in range(20):
        deadline_s = monotonic_s() + after_s
        poller.run_once(deadline_s)
        late_s.append(monotonic_s() - deadline_s)

    assert min(late_s) >= 0
    assert min(late_s) < 0.0005  # epoll alone is late by up to a millisecond, each time


def test_a_deadline_in_the_past_serves_what_is_ready_without_waiting(
    poller: Poller, pair: Pair
) -> None:
    calls: list[int] = []
    poller.add(pair[0], lambda: calls.append(1))
    pair[1].send(b"x")

    poller.run_once(monotonic_s() - 10)

    assert calls == [1]


def test_writing_is_watched_on_demand(poller: Poller, pair: Pair) -> None:
    calls: list[int] = []
    poller.add(pair[0], lambda: calls.append(1))
    poller.run_once(monotonic_s())
    assert calls == []

    poller.modify(pair[0], read=True, write=True)
    poller.run_once(monotonic_s())
    assert calls == [1]

    poller.modify(pair[0], read=False, write=False)
    pair[1].send(b"x")
    poller.run_once(monotonic_s())
    assert calls == [1]


def test_the_other_end_closing_is_told(poller: Poller, pair: Pair) -> None:
    calls: list[bytes] = []
    poller.add(pair[0], lambda: calls.append(pair[0].recv(1)))
    pair[1].close()

    poller.run_once(None)

    assert calls == [b""]


def test_a_callback_may_remove_another_that_is_ready(poller: Poller) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    calls: list[int] = []

    def served(number: int) -> None:
        calls.append(number)
        poller.remove(pairs[1 - number][0])

    for number, (mine, theirs) in enumerate(pairs):
        poller.add(mine, lambda number=number: served(number))  # type: ignore[misc]
        theirs.send(b"x")

    poller.run_once(None)

    assert len(calls) == 1
    for ends in pairs:
        for end in ends:
            end.close()


def test_a_file_is_watched_once(poller: Poller, pair: Pair) -> None:
    poller.add(pair[0], lambda: None)

    with pytest.raises(ValueError, match="is watched already"):
        poller.add(pair[0].fileno(), lambda: None)

    poller.remove(pair[0])
    with pytest.raises(KeyError):
        poller.remove(pair[0])


def test_signals_come_in_the_loop_and_end_a_wait(poller: Poller) -> None:
    got: list[signal.Signals] = []
    poller.on_signals(got.append, (signal.SIGTERM, signal.SIGHUP))
    sender = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM))
    sender.start()

    poller.run_once(monotonic_s() + 10)

    sender.join()
    assert got == [signal.SIGTERM]
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGTERM)
    poller.run_once(monotonic_s() + 10)
    assert sorted(got[1:]) == [signal.SIGHUP, signal.SIGTERM]


def test_an_exception_of_a_callback_comes_out(poller: Poller, pair: Pair) -> None:
    def bug() -> None:
        raise AssertionError("a bug")

    poller.add(pair[0], bug)
    pair[1].send(b"x")

    with pytest.raises(AssertionError, match="a bug"):
        poller.run_once(None)
