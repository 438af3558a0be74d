"""Labels by name: the file, the frame, and the bits of a peer's requests."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.proto import ctlabels
from carpool.proto import ctmessage as ct
from carpool.proto.ctgate import Gate
from tests.unit.proto import ctsamples
from tests.unit.proto.ctsamples import Sample, expected_create

names = st.dictionaries(
    st.integers(0, 127), st.sampled_from([f"name{number}" for number in range(40)])
)
some_bits = st.sets(st.integers(0, 127))


def test_a_file_is_read_as_others_read_it() -> None:
    text = "# bit name\n0 eth0-in\n 5\tvoip # calls\n\n127 last\n"
    assert ctlabels.parse_file(text) == {0: "eth0-in", 5: "voip", 127: "last"}


@pytest.mark.parametrize(
    "line",
    ["128 far", "-1 below", "x name", "5", "5 two words", "1e2 name", "5 " + "n" * 65, "²  x"],
)
def test_a_line_that_says_nothing_is_passed_over(line: str) -> None:
    assert ctlabels.parse_file(f"1 one\n{line}\n2 two\n") == {1: "one", 2: "two"}


def test_the_first_of_two_counts() -> None:
    assert ctlabels.parse_file("1 one\n1 other\n2 one\n3 three") == {1: "one", 3: "three"}


@given(names)
def test_names_come_back_from_a_frame(mapping: dict[int, str]) -> None:
    assert ctlabels.parse(ctlabels.build(mapping)) == mapping


@given(st.binary(max_size=300))
def test_any_bytes_are_names_or_refused(payload: bytes) -> None:
    read = ctlabels.parse(payload)
    if not isinstance(read, str):
        assert all(0 <= bit < 128 for bit in read) and len(read) <= 128


@given(some_bits)
def test_bits_are_numbered_as_the_kernel_does(chosen: set[int]) -> None:
    value = ctlabels.value_of(iter(chosen))
    assert len(value) == 16 and set(ctlabels.bits(value)) == chosen


@given(names, names, some_bits, st.lists(ctsamples.samples(), max_size=3))
def test_labels_travel_by_name(
    theirs: dict[int, str], ours: dict[int, str], chosen: set[int], samples: list[Sample]
) -> None:
    """Against a plain translation of the fields; what has no labels is not touched."""
    by_name = {name: bit for bit, name in ours.items()}
    mine = {by_name[theirs[bit]] for bit in chosen if theirs.get(bit) in by_name}
    label = ctlabels.value_of(iter(chosen))
    sent = [replace(one, labels=label) for one in samples] + [
        replace(o, labels=None) for o in samples
    ]
    translator = ctlabels.Translator(theirs, ours)
    payload = translator.payload(b"".join(expected_create(one) for one in sent))
    assert Gate().check(payload) == len(sent)
    requests = []
    at = 0
    while at < len(payload):
        length = int.from_bytes(payload[at : at + 4], "little")
        requests.append(payload[at : at + length])
        at += length
    for one, request in zip(sent, requests, strict=True):
        entry = ct.parse(request)
        assert isinstance(entry, ct.Entry)
        assert set(ctlabels.bits(entry.labels or bytes(16))) == (mine if one.labels else set())
    lost = sum(theirs.get(bit) not in by_name for bit in chosen)
    assert translator.lost.total() == lost * len(samples)
