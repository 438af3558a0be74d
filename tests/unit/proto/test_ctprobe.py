"""Create requests whose tuples are in use: probe, comparison and update against plain bytes."""

from __future__ import annotations

import struct
from dataclasses import replace

from hypothesis import given

from carpool.proto import ctmessage as ct
from carpool.proto.ctprobe import Prober
from tests.unit.proto import ctsamples
from tests.unit.proto.ctsamples import TCP, Sample, Way

A, B, VIP = bytes((10, 1, 0, 10)), bytes((10, 2, 0, 10)), bytes((10, 2, 0, 100))


@given(ctsamples.samples(), ctsamples.samples())
def test_the_probe_asks_for_the_tuple_and_the_update_carries_the_state(
    one: Sample, other: Sample
) -> None:
    prober = Prober()
    for sample in (one, other, one):  # learned, then known
        create = ctsamples.expected_create(sample)
        entry = ct.parse_create(create)
        assert isinstance(entry, ct.Entry)
        assert prober.update(create) == ct.update_request(entry)
        delete = ctsamples.expected_delete(sample)  # the same tuple, zone and length
        head = struct.pack("=IHHII", len(delete), 0x0101, 1, 0, 0)
        assert prober.get(create) == head + delete[16:]


@given(ctsamples.samples(), ctsamples.samples())
def test_the_same_flow_is_told_from_any_other(one: Sample, other: Sample) -> None:
    one, other = (replace(sample, destroy=False, icmp=(8, 0)) for sample in (one, other))
    equal = (one.protocol, one.orig, one.reply) == (other.protocol, other.orig, other.reply)
    prober = Prober()
    for mine, theirs, expected in ((one, one, True), (one, other, equal), (other, one, equal)):
        create = ctsamples.expected_create(mine)
        assert prober.same(create, ctsamples.event(theirs)) is expected


def test_an_echo_with_a_translated_id_is_the_same() -> None:
    echo = Sample(1, Way(A, B, 7, 7), Way(B, VIP, 9, 9), 0xE, 30)
    prober = Prober()
    assert prober.same(ctsamples.expected_create(echo), ctsamples.event(echo))
    plain = replace(echo, reply=Way(B, VIP, 7, 7))
    assert not prober.same(ctsamples.expected_create(echo), ctsamples.event(plain))
    assert not prober.same(ctsamples.expected_create(plain), ctsamples.event(echo))


def test_one_changed_end_is_another_flow() -> None:
    tcp = Sample(TCP, Way(A, B, 4000, 80), Way(B, VIP, 80, 5000), 0xE, 30, tcp=(3, 0, 0, 0, 0))
    create = ctsamples.expected_create(tcp)
    prober = Prober()
    assert prober.same(create, ctsamples.event(tcp))
    for way in ("orig", "reply"):
        for end, value in (("src", VIP[::-1]), ("dst", VIP[::-1]), ("sport", 1), ("dport", 1)):
            changed = replace(getattr(tcp, way), **{end: value})
            other = replace(tcp, orig=changed) if way == "orig" else replace(tcp, reply=changed)
            assert not prober.same(create, ctsamples.event(other)), (way, end)
