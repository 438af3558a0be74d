"""Who showed the right password lately: from there, with that password, and as long as it lasts."""

from __future__ import annotations

from carpool.web.known import KNOWN_MAX, Known

HERE, ELSEWHERE = "10.0.0.9", "10.0.0.66"


def test_who_was_right_is_known_from_there_alone() -> None:
    known = Known(b"k" * 32)
    assert not known.has("mon", HERE, "right", "$argon2$1")
    known.add("mon", HERE, "right", "$argon2$1")
    assert known.has("mon", HERE, "right", "$argon2$1")
    assert known.has("mon", HERE, "right", "$argon2$1")
    assert not known.has("mon", ELSEWHERE, "right", "$argon2$1")
    assert not known.has("other", HERE, "right", "$argon2$1")
    assert known.has("mon", HERE, "right", "$argon2$1")


def test_a_wrong_one_ends_it_so_that_the_next_is_counted() -> None:
    known = Known(b"k" * 32)
    known.add("mon", HERE, "right", "$argon2$1")
    assert not known.has("mon", HERE, "wrong", "$argon2$1")
    assert not known.has("mon", HERE, "right", "$argon2$1")


def test_another_password_of_the_account_ends_it() -> None:
    known = Known(b"k" * 32)
    known.add("mon", HERE, "right", "$argon2$1")
    assert not known.has("mon", HERE, "right", "$argon2$2")


def test_no_more_are_kept_than_there_is_room_for() -> None:
    known = Known(b"k" * 32)
    for number in range(KNOWN_MAX + 1):
        known.add("mon", f"10.0.0.{number}", "right", "$argon2$1")
    assert not known.has("mon", "10.0.0.0", "right", "$argon2$1")
    assert known.has("mon", "10.0.0.1", "right", "$argon2$1")
