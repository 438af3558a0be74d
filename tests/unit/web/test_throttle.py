"""How long who guesses has to wait: by account and by address, and never for good."""

from __future__ import annotations

from carpool.web.throttle import FORGET_S, FREE, KEPT_MAX, WAIT_MAX_S, Throttle
from tests.unit.web.clock import Clock


def guessed(
    throttle: Throttle, times: int, account: str = "anna", source: str = "10.0.0.5"
) -> None:
    for _one in range(times):
        throttle.wrong(account, source)


def test_some_are_free_and_then_each_doubles_the_wait() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    guessed(throttle, FREE - 1)
    assert throttle.wait_s("anna", "10.0.0.5") == 0
    waits = []
    for _one in range(12):
        guessed(throttle, 1)
        waits.append(throttle.wait_s("anna", "10.0.0.5"))
    assert waits[:4] == [1, 2, 4, 8] and waits[-1] == WAIT_MAX_S
    clock.now_s += WAIT_MAX_S
    assert throttle.wait_s("anna", "10.0.0.5") == 0, "nobody is locked out for good"
    guessed(throttle, 10_000)
    assert throttle.wait_s("anna", "10.0.0.5") == WAIT_MAX_S


def test_another_address_does_not_help_nor_another_account() -> None:
    throttle = Throttle(Clock())
    for number in range(FREE + 3):
        throttle.wrong("anna", f"10.0.0.{number}")
        throttle.wrong(f"user{number}", "10.9.9.9")
    assert throttle.wait_s("anna", "192.0.2.1") > 0
    assert throttle.wait_s("bert", "10.9.9.9") > 0
    assert throttle.wait_s("bert", "10.0.0.1") == 0


def test_a_whole_network_of_ipv6_is_one_address() -> None:
    throttle = Throttle(Clock())
    for number in range(FREE + 3):
        throttle.wrong(f"user{number}", f"fd00:0:0:1::{number}")
    assert throttle.wait_s("bert", "fd00:0:0:1:ffff::1") > 0
    assert throttle.wait_s("bert", "fd00:0:0:2::1") == 0


def test_who_knows_the_password_starts_anew_and_time_forgets() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    guessed(throttle, FREE + 3)
    throttle.right("anna", "10.0.0.5")
    guessed(throttle, FREE - 1)
    assert throttle.wait_s("anna", "10.0.0.5") == 0
    clock.now_s += FORGET_S + 1
    guessed(throttle, FREE - 1)
    assert throttle.wait_s("anna", "10.0.0.5") == 0


def test_it_remembers_so_many_and_those_who_came_last() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    guessed(throttle, FREE + 5, "victim", "10.0.0.5")
    for number in range(KEPT_MAX):
        clock.now_s += 0.001
        throttle.wrong("x" * 1000, f"fd00:0:0:{number:x}::1")
    assert len(throttle._tries) <= KEPT_MAX + 2
    clock.now_s += 0.001
    guessed(throttle, FREE + 5, "anna", "10.0.0.9")
    assert throttle.wait_s("anna", "10.0.0.9") > 0
