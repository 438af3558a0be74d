"""The patcher against the plain reference of ctsamples.py, and that it is fast for a reason."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.model.config import Exclusion, Mark
from carpool.proto import ctmessage as ct
from carpool.proto import ctpatch
from tests.unit.proto import ctsamples
from tests.unit.proto.ctsamples import (
    ICMP,
    TCP,
    UDP,
    Sample,
    Way,
    expected_create,
    expected_delete,
    recorded,
)

RECORDED = recorded()
CLIENT, SERVER, VIP = (
    IPv4Address(text).packed for text in ("10.1.0.10", "10.2.0.10", "10.2.0.100")
)
EVERY = ct.Rules(every=True)


def expected(sample: Sample) -> bytes:
    make = ctsamples.expected_delete if sample.destroy else ctsamples.expected_create
    return make(sample)


@settings(max_examples=60)
@given(st.lists(ctsamples.samples(), min_size=1, max_size=8))
def test_every_request_is_the_reference(samples: list[Sample]) -> None:
    """In any order, the first of its shape and all that follow, whatever was learned before."""
    patcher = ctpatch.Patcher(EVERY)
    for sample in [*samples, *samples]:
        assert patcher.request(ctsamples.event(sample)) == expected(sample)


LOCAL = (bytes((10, 1, 0, 10)), bytes((10, 2, 0, 100)))  # hosts that the samples are made of


@settings(max_examples=60)
@given(
    st.lists(st.tuples(ctsamples.samples(), st.integers(1, 9)), min_size=1, max_size=6),
    st.sets(st.sampled_from(LOCAL)),
    st.randoms(use_true_random=False),
)
def test_together_gives_what_one_by_one_gives(
    drawn: list[tuple[Sample, int]], local: set[bytes], chance: Random
) -> None:
    """Runs of one shape with flows of their own, in any order, some of which stay here."""
    rules = ct.Rules(every=True, local=frozenset(local))
    samples = [sample for sample, times in drawn for sample in [sample, *_alike(sample, times)]]
    messages = [ctsamples.event(sample) for sample in samples]
    patcher, single = ctpatch.Patcher(rules), ctpatch.Patcher(rules)
    for _ in range(2):
        assert patcher.requests(messages) == [single.request(message) for message in messages]
        chance.shuffle(messages)
    assert patcher.causes == single.causes


def _alike(sample: Sample, times: int) -> list[Sample]:
    """Other flows of the same shape: ids differ, and so does one port of each direction."""
    return [
        replace(
            sample,
            id=number,
            orig=replace(sample.orig, dport=number)
            if sample.protocol in (TCP, UDP)
            else sample.orig,
            reply=replace(sample.reply, sport=number)
            if sample.protocol in (TCP, UDP)
            else sample.reply,
        )
        for number in range(times)
    ]


def test_a_run_is_parsed_once() -> None:
    patcher = ctpatch.Patcher(EVERY)
    way = Way(CLIENT, SERVER, 4000, 53)
    samples = [
        Sample(UDP, replace(way, sport=port), Way(SERVER, VIP, 53, port), 0xE, 30)
        for port in range(1000, 1000 + 3 * ctpatch.RUN_MAX + 1)
    ]
    requests = patcher.requests([ctsamples.event(sample) for sample in samples])
    assert requests == [expected(sample) for sample in samples]
    assert patcher.parsed <= ctpatch.RUN_MAX  # of the first run, which teaches the shape


@given(ctsamples.samples(), ctsamples.samples())
def test_a_shape_is_parsed_once_for_each_way_to_translate(first: Sample, other: Sample) -> None:
    """Another flow of the same shape, with addresses, ports, mark, timeout of its own: no parsing
    but where another end is translated."""
    second = replace(
        first,
        orig=other.orig if first.protocol == other.protocol else first.orig,
        reply=other.reply if first.protocol == other.protocol else first.reply,
        mark=None if first.mark is None else (other.mark or 0),
        id=other.id,
        sequence=other.sequence,
        port=other.port,
    )
    if first.master is not None:
        second = replace(second, master=replace(second.orig, sport=1, dport=21))
    patcher = ctpatch.Patcher(EVERY)
    assert patcher.request(ctsamples.event(first)) == expected(first)
    assert patcher.parsed == 1
    assert patcher.request(ctsamples.event(second)) == expected(second)
    parsed = patcher.parsed
    for again in (first, second, first):
        assert patcher.request(ctsamples.event(again)) == expected(again)
    rare = first.protocol == ctsamples.ESP or first.sctp is not None
    rare |= not first.destroy and (first.master is not None or any(map(any, first.seqadj or ())))
    assert patcher.parsed == (5 if rare else parsed)
    assert parsed <= 2


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_recorded_messages_are_known_the_second_time(name: str) -> None:
    patcher = ctpatch.Patcher(ct.Rules(every=False))
    message = RECORDED[name]
    first, parsed = patcher.request(message), patcher.parsed
    assert patcher.request(message) == first
    assert patcher.parsed == parsed
    read = ct.parse(message)
    if isinstance(read, ct.Skip) or not read.assured:
        assert first == b""
    else:
        assert first == (ct.delete_request if "destroy" in name else ct.create_request)(read)


def sample(**changes: object) -> Sample:
    base = Sample(
        TCP,
        Way(CLIENT, SERVER, 4000, 80),
        Way(SERVER, VIP, 80, 4000),
        status=0x19E,
        timeout=432_000,
        tcp=(3, 7, 7, 0x23, 0x23),
    )
    return replace(base, **changes)  # type: ignore[arg-type] # a test's shorthand


def test_translation_is_seen_although_the_shape_is_the_same() -> None:
    """The status of NAT is no proof: what the tuples say decides, in either order."""
    plain = sample(reply=Way(SERVER, CLIENT, 80, 4000))
    for order in ([sample(), plain], [plain, sample()]):
        patcher = ctpatch.Patcher(EVERY)
        for one in [*order, *order]:
            assert patcher.request(ctsamples.event(one)) == ctsamples.expected_create(one)


def test_another_id_of_icmp_says_nothing_about_the_other_end() -> None:
    """Both have another id, one is translated at the destination too: two recipes of one shape."""
    moved = Sample(ICMP, Way(CLIENT, SERVER, 7, 7), Way(SERVER, VIP, 9, 9), 0xA, 30)
    both = replace(moved, reply=Way(CLIENT, VIP, 9, 9))
    for order in ([moved, both], [both, moved]):
        patcher = ctpatch.Patcher(EVERY)
        for one in [*order, *order]:
            assert patcher.request(ctsamples.event(one)) == ctsamples.expected_create(one)
        assert patcher.parsed == 2


@pytest.mark.parametrize(
    ("rules", "message", "cause"),
    [
        (ct.Rules(every=False), sample(status=0x18A), "skipped_not_assured"),
        (ct.Rules(every=True, local=frozenset({CLIENT})), sample(), "skipped_local"),
        (ct.Rules(every=True, local=frozenset({SERVER})), sample(), "skipped_local"),
        (ct.Rules(every=True, own=frozenset({VIP})), sample(), "skipped_own_address"),
    ],
)
def test_what_stays_here_is_counted_by_cause(rules: ct.Rules, message: Sample, cause: str) -> None:
    patcher = ctpatch.Patcher(ct.Rules(every=True))
    raw = ctsamples.event(message)
    assert patcher.request(raw) != b""  # learned while everything travels
    patcher.rules = rules
    for seen in (1, 2, 3):
        assert patcher.request(raw) == b""
        assert patcher.causes == {cause: seen}


def test_ipv6_takes_the_fast_path_too() -> None:
    patcher = ctpatch.Patcher(EVERY)
    for name in ("plain-tcp6-event", "plain-icmp6-destroy") * 3:
        entry = ct.parse(RECORDED[name])
        assert isinstance(entry, ct.Entry)
        make = ct.delete_request if "destroy" in name else ct.create_request
        assert patcher.request(RECORDED[name]) == make(entry)
    assert (patcher.causes, patcher.parsed) == ({}, 2)


def test_other_families_are_counted() -> None:
    patcher = ctpatch.Patcher(EVERY)
    message = RECORDED["plain-tcp-plain-event"]
    assert patcher.request(message[:16] + b"\x07" + message[17:]) == b""
    assert patcher.causes == {"skipped_family": 1}


def test_what_an_entry_loses_on_the_way_is_counted_each_time() -> None:
    """A helper that is a program of this node (nfct): no peer could be asked for it."""
    patcher = ctpatch.Patcher(EVERY)
    helped = sample(helper="dhcpv6")
    for seen in (1, 2, 3):
        assert patcher.request(ctsamples.event(helped)) == ctsamples.expected_create(sample())
        assert patcher.causes == {"without_help": seen}
    assert patcher.parsed == 1


def test_what_events_tell_in_part_is_asked_for() -> None:
    """A child of another connection, or moved sequence numbers: the status says so, no more."""
    patcher = ctpatch.Patcher(EVERY)
    for bit in (0x1, 0x40):
        for _ in range(2):  # learned, then known
            part = sample(status=0x18E | bit)
            assert patcher.request(ctsamples.event(part)) == b""
            question = ctsamples.message(0x0101, 1, ctsamples.expected_delete(part)[20:])
            assert patcher.questions() == [(question, b"")]
            assert patcher.questions() == []
            whole = replace(part, master=Way(CLIENT, SERVER, 1, 21), seqadj=(b"\1" * 12, bytes(12)))
            assert patcher.request(ctsamples.event(whole)) == expected(whole)
            gone = replace(part, destroy=True)
            assert patcher.request(ctsamples.event(gone)) == expected(gone)
            assert patcher.questions() == []


@given(st.lists(ctsamples.samples(), max_size=8))
def test_what_is_asked_for_is_the_flow_of_the_event(samples: list[Sample]) -> None:
    patcher = ctpatch.Patcher(EVERY)
    patcher.labels = True
    news = [replace(one, destroy=False, master=None, seqadj=None, labels=None) for one in samples]
    events = [ctsamples.event(one) for one in news] * 2
    questions = [
        (ctsamples.message(0x0101, 1, expected_delete(one)[20:], family=one.family), b"")
        for one in news
    ]
    assert [patcher.request(event) for event in events] == [b""] * len(events)
    assert patcher.questions() == questions * 2
    assert patcher.requests(events) == [b""] * len(events)
    assert sorted(patcher.questions()) == sorted(questions * 2)


def test_where_labels_are_in_use_all_is_asked_for() -> None:
    patcher = ctpatch.Patcher(EVERY)
    patcher.labels = True
    assert patcher.request(ctsamples.event(sample())) == b""
    assert len(patcher.questions()) == 1
    assert patcher.request(ctsamples.event(sample(destroy=True))) != b""
    labelled = sample(labels=bytes(15) + b"\1", seqadj=(bytes(12), bytes(12)))
    assert patcher.request(ctsamples.event(labelled)) == expected(labelled)
    assert patcher.questions() == [] and patcher.causes == {}


def test_an_attribute_of_a_newer_kernel_is_parsed_around_and_counted() -> None:
    patcher = ctpatch.Patcher(EVERY)
    body = ctsamples.event(sample())[20:] + ctsamples.attr(99, b"new")
    message = ctsamples.message(0x0100, 0, body)
    for seen in (1, 2):
        assert patcher.request(message) == ctsamples.expected_create(sample())
        assert (patcher.causes, patcher.parsed) == ({"unknown_attribute": seen}, seen)


def test_zero_numbers_of_sequence_adjustment_are_nothing() -> None:
    patcher = ctpatch.Patcher(EVERY)
    zero = sample(seqadj=(bytes(12), bytes(12)))
    for _ in range(2):
        assert patcher.request(ctsamples.event(zero)) == ctsamples.expected_create(sample())
    assert (patcher.causes, patcher.parsed) == ({}, 1)


@given(st.sampled_from(sorted(RECORDED)), st.integers(0, 300), st.binary(max_size=8))
def test_garbage_is_counted_never_an_exception(name: str, at: int, garbage: bytes) -> None:
    patcher = ctpatch.Patcher(EVERY)
    message = RECORDED[name]
    patcher.request(message)
    at %= len(message)
    for broken in (message[:at], message[:at] + garbage + message[at + len(garbage) :]):
        read = ct.parse(broken)
        first = patcher.request(broken)
        if isinstance(read, ct.Skip):
            assert first == b""
        assert patcher.request(broken) == first


def test_shapes_without_end_do_not_take_memory_without_end() -> None:
    shapes: ctpatch.Shapes[int] = ctpatch.Shapes()
    for number in range(3 * ctpatch.SHAPES_MAX):
        shapes.learn(number.to_bytes(8, "big"), [(0, 4)], number)
    known = sum(shapes.find(n.to_bytes(8, "big")) == n for n in range(3 * ctpatch.SHAPES_MAX))
    assert 0 < known <= ctpatch.SHAPES_MAX
    last = 3 * ctpatch.SHAPES_MAX - 1
    assert shapes.find(b"free" + last.to_bytes(4, "big")) == last
    assert shapes.find(last.to_bytes(9, "big")) is None


def test_is_delete_tells_the_type() -> None:
    gone = sample(destroy=True, protocol=UDP, tcp=None)
    assert ctpatch.is_delete(ctsamples.event(gone))
    assert ctpatch.is_delete(ctsamples.expected_delete(gone))
    assert not ctpatch.is_delete(ctsamples.event(sample()))


@given(ctsamples.samples(), ctsamples.samples())
def test_a_flow_is_known_by_its_create_and_its_delete(one: Sample, other: Sample) -> None:
    flows = [
        {ctpatch.flow_of(make(sample)) for make in (expected_create, expected_delete)}
        for sample in (one, other)
    ]
    assert [len(flow) for flow in flows] == [1, 1]
    assert (flows[0] == flows[1]) == (expected_delete(one) == expected_delete(other))


@settings(max_examples=60)
@given(st.lists(ctsamples.samples(), min_size=1, max_size=5))
def test_what_is_excluded_stays_here_whatever_was_learned(samples: list[Sample]) -> None:
    """The judge of the fast path is that of the reference. A change takes the copy away, news of a
    table say nothing."""
    exclusions = (Exclusion(network=IPv4Network("10.1.0.0/16")), Exclusion(mark=Mark(1, 1)))
    rules = ct.Rules(every=True, exclusions=exclusions)
    patcher = ctpatch.Patcher(rules)
    for one in [*samples, *samples]:
        entry = ct.parse(ctsamples.event(one))
        assert isinstance(entry, ct.Entry)
        ends = [end for way in (one.orig, one.reply) for end in (way.src, way.dst)]
        inside = any(end[:2] == b"\x0a\1" for end in ends)
        labelled = (one.labels or bytes(16))[15] >= 0x80  # by interface
        excluded = inside or labelled or bool((one.mark or 0) & 1)
        assert (rules.skip(entry) is ct.Skip.EXCLUDED) is excluded
        request = patcher.request(ctsamples.event(one))
        if excluded:
            assert request == (b"" if one.destroy or one.whole else expected_delete(one))
        else:
            assert request == expected(one)
    events = [ctsamples.event(one) for one in samples] * 4
    assert ctpatch.Patcher(rules).requests(events) == [patcher.request(event) for event in events]
