"""Attributes by name, on messages of any shape, broken ones too."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from carpool.proto import ctfields as ct
from tests.unit.proto import ctsamples
from tests.unit.proto.ctsamples import Sample


@given(ctsamples.samples())
def test_each_value_has_its_name(sample: Sample) -> None:
    event = ctsamples.event(sample)
    found = ct.fields(event)
    assert found is not None and ct.sizes_fit(found, sample.family)
    values = {name: event[at : at + length] for name, (at, length) in found.items()}
    assert (values["orig.ip.src"], values["reply.ip.dst"]) == (sample.orig.src, sample.reply.dst)
    assert int.from_bytes(values["status"], "big") == sample.status
    if sample.helper and not sample.destroy:
        assert values["help.name"] == sample.helper.encode() + b"\0"
    if sample.whole and sample.master is not None:
        assert values["master.ip.src"] == sample.master.src
    if sample.whole and sample.seqadj is not None:
        leaves = ("position", "before", "after")
        assert b"".join(values[f"seqadj_orig.{leaf}"] for leaf in leaves) == sample.seqadj[0]
    assert not any("unknown" in name for name in found)


@given(ctsamples.samples(), st.integers(0, 600), st.binary(max_size=8))
def test_garbage_has_fields_within_the_message_or_none(
    sample: Sample, at: int, garbage: bytes
) -> None:
    event = ctsamples.event(sample)
    at %= len(event)
    for broken in (event[:at], event[:at] + garbage + event[at + len(garbage) :]):
        found = ct.fields(broken)
        for start, length in (found or {}).values():
            assert 20 <= start <= start + length <= len(broken)


@given(ctsamples.samples(), st.sets(st.sampled_from(["status", "help", "mark", "nothing"])))
def test_a_request_without_some_parts_is_a_request(sample: Sample, parts: set[str]) -> None:
    request = ctsamples.expected_create(sample)
    left = ct.without(request, *parts)
    before, after = ct.fields(request), ct.fields(left)
    assert before is not None and after is not None
    assert after.keys() == {name for name in before if name.split(".")[0] not in parts}
    for name, (at, length) in after.items():
        old, old_length = before[name]
        if "." in name:
            assert left[at : at + length] == request[old : old + old_length]
