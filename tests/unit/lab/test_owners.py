"""For how long two own an address, out of what each kernel has seen."""

from __future__ import annotations

import pytest

from carpool.lab.owners import Change, ended, two_owners_s


def changes(address: str, *times: float) -> list[Change]:
    """It comes, goes, comes."""
    return [Change(at_s, address, number % 2 == 0) for number, at_s in enumerate(times)]


def test_a_handover_is_shared_for_as_long_as_both_have_it() -> None:
    history = {"fw1": changes("a", 0.0, 10.5), "fw2": changes("a", 10.0)}
    assert two_owners_s(history, 5.0, 20.0) == pytest.approx(0.5)


def test_a_gap_is_not_shared() -> None:
    assert two_owners_s({"fw1": changes("a", 0.0, 9.0), "fw2": changes("a", 10.0)}, 0.0, 20.0) == 0


def test_two_addresses_at_the_same_time_count_once() -> None:
    history = {
        "fw1": changes("a", 0.0) + changes("b", 0.0),
        "fw2": changes("a", 1.0, 3.0) + changes("b", 2.0, 4.0),
    }
    assert two_owners_s(history, 0.0, 20.0) == pytest.approx(3.0)


def test_what_does_not_end_ends_with_the_look_at_it() -> None:
    history = {"fw1": changes("a", 0.0), "fw2": changes("a", 1.0)}
    assert two_owners_s(history, 2.0, 5.0) == pytest.approx(3.0)
    assert two_owners_s(history, 0.0, 0.5) == 0


def test_a_third_owner_begins_no_new_time() -> None:
    history = {"fw1": changes("a", 0.0, 4.0), "fw2": changes("a", 1.0), "fw3": changes("a", 2.0)}
    assert two_owners_s(history, 0.0, 5.0) == pytest.approx(4.0)


def test_who_has_no_power_owns_nothing() -> None:
    history = {"fw1": ended(changes("a", 0.0, 12.0), 9.0), "fw2": changes("a", 10.0)}
    assert two_owners_s(history, 0.0, 20.0) == 0
