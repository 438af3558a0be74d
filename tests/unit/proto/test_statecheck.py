"""The frames that compare two tables: both ways, on the wire, and garbage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.proto import statecheck as sc
from carpool.proto.statecheck import Found, Mode, Verdict

counts = st.integers(0, 2**32 - 1)
modes = st.sampled_from(Mode)


@given(st.builds(sc.Walk, counts, modes))
def test_a_walk_is_asked_for(walk: sc.Walk) -> None:
    assert sc.parse_walk(sc.build_walk(walk)) == walk


@given(
    st.builds(sc.Check, counts, counts, st.booleans(), st.booleans(), st.binary(max_size=300)),
)
def test_a_question_comes_out_as_it_went_in(check: sc.Check) -> None:
    assert sc.parse_check(sc.build_check(check)) == check


@given(
    counts,
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 2**16 - 1), st.sampled_from(Verdict)), max_size=20),
)
def test_an_answer_comes_out_as_it_went_in(
    number: int, master: bool, results: list[tuple[int, Verdict]]
) -> None:
    payload = sc.build_checked(number, results, master=master)
    assert sc.parse_checked(payload) == sc.Checked(number, master, tuple(results))


@given(
    st.builds(
        sc.Walked,
        counts,
        modes,
        st.booleans(),
        st.builds(Found, counts, counts, counts, counts),
    )
)
def test_the_end_of_a_walk_tells_its_counts(walked: sc.Walked) -> None:
    assert sc.parse_walked(sc.build_walked(walked)) == walked


@given(st.booleans(), st.booleans(), counts, counts)
def test_a_table_tells_how_full_it_is(
    master: bool, whole: bool, entries: int, entries_max: int
) -> None:
    table = sc.Table(master, whole, entries, entries_max)
    assert sc.parse_table(sc.build_table(table)) == table


def test_on_the_wire() -> None:
    assert sc.build_walk(sc.Walk(5, Mode.RESYNC)).hex() == "0000000502"
    check = sc.Check(7, 5, first=True, last=False, requests=b"\xaa")
    assert sc.build_check(check).hex() == "000000070000000501000000aa"
    answer = sc.build_checked(7, [(2, Verdict.DIFFERENT)], master=True)
    assert answer.hex() == "000000070100000000020200"


@pytest.mark.parametrize(
    "parse", [sc.parse_walk, sc.parse_check, sc.parse_checked, sc.parse_walked, sc.parse_table]
)
@given(payload=st.binary(max_size=40))
def test_garbage_gives_a_value_or_words(parse: object, payload: bytes) -> None:
    assert callable(parse)
    assert parse(payload) is not None


@pytest.mark.parametrize(
    ("parse", "payload"),
    [
        (sc.parse_walk, "0000000503"),  # no such mode
        (sc.parse_walk, "02"),
        (sc.parse_check, "0000000700000005000000"),  # too short
        (sc.parse_check, "000000070000000500020000"),  # last is neither 0 nor 1
        (sc.parse_check, "000000070000000502000000"),  # first is neither
        (sc.parse_check, "000000070000000500000001"),  # not zero
        (sc.parse_checked, "0000000700000000000100"),  # half a result
        (sc.parse_checked, "000000070000000000010300"),  # no such verdict
        (sc.parse_checked, "000000070000000000010101"),  # not zero
        (sc.parse_walked, "00"),
        (sc.parse_walked, "00000005 03 00 0000" + 32 * "0"),  # no such mode
        (sc.parse_walked, "00000005 00 02 0000" + 32 * "0"),  # neither whole nor failed
        (sc.parse_table, "020000000000000000000000"),
        (sc.parse_table, "000200000000000000000000"),
    ],
)
def test_what_means_nothing_is_refused(parse: object, payload: str) -> None:
    assert callable(parse)
    assert isinstance(parse(bytes.fromhex(payload)), str)
