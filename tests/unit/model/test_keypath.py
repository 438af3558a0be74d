"""Key paths are read back as they were written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.model.keypath import KeyPath, parse, render

names = st.text(st.characters(exclude_categories=["Cs"]))
paths = st.lists(names | st.integers(0, 10**6), max_size=6).map(tuple)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("vip", 0, "addresses", 1), "vip[0].addresses[1]"),
        (("peer", "fw-2", "address", "lan"), "peer.fw-2.address.lan"),
        (("peer", "fw 2", 0), 'peer."fw 2"[0]'),
        (("ä",), '"ä"'),
        (('a"b\x1b\x9b',), '"a\\"b\\u001b\\u009b"'),
        (("",), '""'),
    ],
)
def test_spelling(path: KeyPath, text: str) -> None:
    assert render(path) == text
    assert parse(text) == path


@given(paths)
def test_round_trip(path: KeyPath) -> None:
    text = render(path)
    assert text.isprintable()
    assert parse(text) == path


@pytest.mark.parametrize("text", ["a b", "[", "a[x]", '"a', "a..b", "."])
def test_no_key_path(text: str) -> None:
    with pytest.raises(ValueError, match="no key path"):
        parse(text)
