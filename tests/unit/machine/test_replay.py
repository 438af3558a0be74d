"""Counters: ours only grow; a proven peer's may not go back while it lives."""

from __future__ import annotations

from ipaddress import IPv4Address
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.machine.replay import PEERS_MAX, PROVEN_STEPS, TAG_VALUES, CounterClock, CounterMemory
from tests.unit.proto.test_carp import golden

FW2, FW3 = IPv4Address("10.1.0.3"), IPv4Address("10.1.0.4")
LIFETIME_S = 3.0
START_US = 1_700_000_000_000_000

# ------------------------------------------------------------------------------------ ours


def test_our_counter_is_the_time_and_a_tag() -> None:
    clock = CounterClock(START_US, 50.0, "fw1")
    counter = clock.next(51.5)
    assert counter // TAG_VALUES == START_US + 1_500_000


def test_two_nodes_with_the_same_time_differ() -> None:
    assert CounterClock(START_US, 0.0, "fw1").next(1.0) != CounterClock(START_US, 0.0, "fw2").next(
        1.0
    )


@given(st.lists(st.floats(-1e6, 1e6), min_size=2))
def test_our_counter_grows_whatever_the_clock_does(times_s: list[float]) -> None:
    clock = CounterClock(START_US, 0.0, "fw1")
    counters = [clock.next(now_s) for now_s in times_s]
    assert all(a < b for a, b in pairwise(counters))
    assert {counter % TAG_VALUES for counter in counters} == {counters[0] % TAG_VALUES}


def test_our_counter_grows_over_a_restart() -> None:
    """A reboot takes the monotonic clock back to zero; the wall clock goes on."""
    before = CounterClock(START_US, 1_000_000.0, "fw1").next(1_000_010.0)
    after = CounterClock(START_US + 10_000_001, 0.0, "fw1").next(0.0)
    assert after > before


def test_our_counter_fits_64_bits_until_the_year_4253() -> None:
    year_4253_us = int((4253 - 1970) * 365.2425 * 86400 * 1e6)
    assert CounterClock(year_4253_us, 0.0, "fw1").next(0.0) < 2**64


# ---------------------------------------------------------------------------------- theirs


def proven(memory: CounterMemory, source: IPv4Address = FW2, counter: int = 1000) -> int:
    """Adverts of a peer that counts by one, once a second from 0.0; the last counter."""
    for step in range(PROVEN_STEPS + 1):
        assert memory.accept(source, counter + step, float(step), LIFETIME_S)
    return counter + PROVEN_STEPS


@pytest.mark.parametrize("back", [0, 1, 2, PROVEN_STEPS, 900])
def test_a_proven_peer_may_not_go_back_nor_stand_still(back: int) -> None:
    memory = CounterMemory()
    last = proven(memory)
    assert not memory.accept(FW2, last - back, 3.5, LIFETIME_S)
    assert memory.accept(FW2, last + 1, 4.0, LIFETIME_S)


@pytest.mark.parametrize("back", [0, 1, 1000])
def test_a_counter_that_stands_still_or_goes_back_a_little_is_refused_at_once(back: int) -> None:
    """Otherwise who repeats each advert would keep its sender from being proven."""
    memory = CounterMemory()
    assert memory.accept(FW2, 10_000, 0.0, LIFETIME_S)
    assert not memory.accept(FW2, 10_000 - back, 0.1, LIFETIME_S)
    assert memory.accept(FW2, 10_001, 1.0, LIFETIME_S)


def test_a_refused_counter_does_not_prolong_the_life_of_its_sender() -> None:
    memory = CounterMemory()
    last = proven(memory)
    for tenth in range(1, 30):
        assert not memory.accept(FW2, last - 1, 3.0 + tenth / 10, LIFETIME_S)
    assert memory.accept(FW2, last - 1, 3.0 + LIFETIME_S + 0.01, LIFETIME_S)


def test_a_restart_with_an_earlier_clock_is_accepted_once_the_peer_was_silent() -> None:
    memory = CounterMemory()
    proven(memory)
    assert not memory.accept(FW2, 5, 3.0 + LIFETIME_S, LIFETIME_S)
    assert memory.accept(FW2, 5, 3.0 + LIFETIME_S + 0.01, LIFETIME_S)


def test_each_sender_is_judged_by_itself() -> None:
    memory = CounterMemory()
    last = proven(memory)
    assert memory.accept(FW3, last - 500, 3.1, LIFETIME_S)


def test_captured_counters_of_ucarp_are_accepted() -> None:
    memory = CounterMemory()
    for second, frame in enumerate(golden() * 5):
        counter = int.from_bytes(frame[42:50], "big") ^ second << 50
        assert memory.accept(FW2, counter, float(second), LIFETIME_S)


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=40, unique=True))
def test_random_counters_of_64_bits_prove_nothing(counters: list[int]) -> None:
    """Hypothesis draws small numbers, too; spread them as a random generator does."""
    spread = [counter * 0x9E3779B97F4A7C15 % 2**64 for counter in counters]
    steps = [abs(b - a) for a, b in pairwise(spread)]
    if all(step >= 1 << 40 for step in steps):
        memory = CounterMemory()
        assert all(memory.accept(FW2, c, n * 1.0, LIFETIME_S) for n, c in enumerate(spread))


def test_a_bsd_peer_that_restarts_at_a_random_counter_is_accepted_after_its_silence() -> None:
    memory = CounterMemory()
    proven(memory, counter=2**63)
    assert memory.accept(FW2, 12345, 3.0 + LIFETIME_S + 0.1, LIFETIME_S)
    assert memory.accept(FW2, 12346, 3.0 + LIFETIME_S + 1.1, LIFETIME_S)


def test_a_jump_ahead_takes_the_proof_away() -> None:
    """Rule 4: a peer whose counter jumped is judged anew."""
    memory = CounterMemory()
    last = proven(memory)
    assert memory.accept(FW2, last + (1 << 50), 4.0, LIFETIME_S)
    assert memory.accept(FW2, last, 5.0, LIFETIME_S)


def test_no_more_than_so_many_peers_are_remembered() -> None:
    memory = CounterMemory()
    last = proven(memory)
    for n in range(PEERS_MAX):
        assert memory.accept(IPv4Address(f"10.1.1.{n}"), 1, 3.1, LIFETIME_S)
    assert memory.accept(FW2, last - 1, 3.2, LIFETIME_S)  # the oldest was forgotten
