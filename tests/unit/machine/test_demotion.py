"""Demotion: named reasons, derived, bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from carpool.machine.demotion import ADVSKEW_CAP, RANK_MAX, WEIGHT, Demotion, Rank
from carpool.model.status import DemotionReason


def test_no_reason_no_demotion() -> None:
    demotion = Demotion()
    assert not demotion
    assert (demotion.advskew(17), demotion.rank, demotion.reasons()) == (17, 0, ())


def test_a_reason_holds_once_however_often_it_is_given() -> None:
    demotion = Demotion()
    assert demotion.set("maintenance", Rank.MAINTENANCE, True)
    assert not demotion.set("maintenance", Rank.MAINTENANCE, True)
    assert "maintenance" in demotion
    assert demotion.reasons() == (DemotionReason("maintenance", WEIGHT),)
    assert demotion.set("maintenance", Rank.MAINTENANCE, False)
    assert not demotion.set("maintenance", Rank.MAINTENANCE, False)
    assert not demotion


def test_any_reason_puts_a_node_behind_every_healthy_one() -> None:
    demotion = Demotion()
    demotion.set("bulk sync", Rank.BULK_SYNC, True)
    assert demotion.advskew(0) == 240


def test_the_advskew_on_the_wire_is_capped() -> None:
    demotion = Demotion()
    assert demotion.advskew(254) == ADVSKEW_CAP
    for n in range(4):
        demotion.set(f"interface {n} down", Rank.INTERFACE_DOWN, True)
    assert demotion.advskew(254) == ADVSKEW_CAP


def test_ranks_order_what_matters_more() -> None:
    """One lost interface is worse than all that can be wrong with a whole one together."""
    assert list(Rank) == sorted(Rank)
    others = [rank for rank in Rank if rank is not Rank.INTERFACE_DOWN]
    assert sum(others) < Rank.INTERFACE_DOWN


@given(st.lists(st.tuples(st.sampled_from("abcdefghij"), st.sampled_from(Rank), st.booleans())))
def test_the_rank_is_the_sum_of_what_holds_and_fits_a_byte(
    steps: list[tuple[str, Rank, bool]],
) -> None:
    demotion, model = Demotion(), dict[str, Rank]()
    for reason, rank, on in steps:
        changed = demotion.set(reason, rank, on)
        assert changed == (on != (reason in model))
        if changed and on:
            model[reason] = rank
        elif changed:
            del model[reason]
    assert demotion.rank == min(RANK_MAX, sum(model.values()))
    assert bool(demotion) == bool(model)
    assert [r.reason for r in demotion.reasons()] == list(model)
