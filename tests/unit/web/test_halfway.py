"""Between password and second factor: for a while, and for few."""

from __future__ import annotations

from carpool.web.halfway import MAX, WAIT_S, Halfway
from tests.unit.web.clock import Clock


def test_a_key_is_good_for_a_while() -> None:
    clock = Clock()
    halfway = Halfway(clock, clock.random_hex)
    key = halfway.begin("anna", "$argon2id$", "/vips")
    step = halfway.find(key)
    assert step is not None and (step.name, step.password, step.path) == (
        "anna",
        "$argon2id$",
        "/vips",
    )
    assert halfway.find("") is None and halfway.find("é\ud800") is None
    clock.now_s += WAIT_S
    assert halfway.find(key) is not None
    clock.now_s += 1
    assert halfway.find(key) is None
    clock.now_s -= WAIT_S
    assert halfway.find(key) is None, "it is gone"


def test_there_is_an_end_of_them() -> None:
    clock = Clock()
    halfway = Halfway(clock, clock.random_hex)
    keys = [halfway.begin("anna", "", "/") for _ in range(MAX + 1)]
    assert halfway.find(keys[0]) is None
    assert all(halfway.find(key) is not None for key in keys[1:])
    halfway.end(keys[1])
    assert halfway.find(keys[1]) is None
