"""The code that people read to each other: what it says, and that no slip of the pen passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.proto import paircode
from carpool.proto.paircode import ALPHABET, LENGTH, SECRET_BITS, Code

codes = st.builds(Code, st.binary(min_size=10, max_size=10), st.integers(0, (1 << SECRET_BITS) - 1))
SAMPLE = Code(bytes(range(10)), 0x1_2345_6789_ABCD_EF01)


@given(codes)
def test_a_code_comes_out_as_it_went_in(code: Code) -> None:
    text = str(code)
    assert len(text) == LENGTH + 5 and text.count("-") == 5
    assert paircode.parse(text) == code


def test_how_it_looks() -> None:
    assert str(SAMPLE) == "000G4-0R40M-30E20-9J6HB-7H6NW-VVR1S"


@given(codes)
def test_it_may_be_typed_as_it_is_heard(code: Code) -> None:
    text = str(code).lower().replace("0", "o").replace("1", "l").replace("-", " ")
    assert paircode.parse(f" {text}\n") == code
    assert paircode.parse(text.replace("l", "I").replace(" ", "")) == code


@given(codes, st.integers(0, LENGTH - 1), st.integers(1, 31))
def test_one_wrong_character_is_always_noticed(code: Code, place: int, off: int) -> None:
    plain = str(code).replace("-", "")
    other = ALPHABET[(ALPHABET.index(plain[place]) + off) % 32]
    wrong = plain[:place] + other + plain[place + 1 :]
    assert paircode.parse(wrong) == "its last character does not fit the others"


@given(codes, st.integers(0, LENGTH - 1), st.integers(0, LENGTH - 1))
def test_two_characters_that_changed_places_are_always_noticed(
    code: Code, one: int, other: int
) -> None:
    plain = list(str(code).replace("-", ""))
    plain[one], plain[other] = plain[other], plain[one]
    changed = plain != list(str(code).replace("-", ""))
    assert isinstance(paircode.parse("".join(plain)), str) is changed


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it has 0 characters, expected 30"),
        (str(SAMPLE)[:-1], "it has 29 characters, expected 30"),
        (str(SAMPLE) + "0" * 10**6, "it has 115 characters, expected 30"),
        ("U" * 30, "'U' is no character of a code"),
        ("é" * 30, "'\\xc9' is no character of a code"),
        ("\x1b" * 30, "'\\x1b' is no character of a code"),
    ],
)
def test_what_is_no_code_is_told(text: str, why: str) -> None:
    assert paircode.parse(text) == why


@given(st.text(max_size=200))
def test_anything_may_be_typed(text: str) -> None:
    assert isinstance(paircode.parse(text), Code | str)


def test_it_is_of_one_certificate() -> None:
    assert SAMPLE.is_of(bytes(range(32)))
    assert not SAMPLE.is_of(bytes(range(1, 33)))
    assert not SAMPLE.is_of(b"")
