"""Requests that make TCP entries liberal, against plain bytes."""

from __future__ import annotations

import struct
from dataclasses import replace

from hypothesis import given

from carpool.proto.ctloose import Loosener
from tests.unit.proto import ctsamples
from tests.unit.proto.ctsamples import TCP, Sample, attr, nest

LIBERAL = 0x08  # IP_CT_TCP_FLAG_BE_LIBERAL
FLAG = bytes((LIBERAL, LIBERAL))  # value, mask


def expected(sample: Sample) -> bytes:
    """The original tuple and zone, as a delete has them, and nothing but the flag."""
    if sample.tcp is None or sample.tcp[3] & sample.tcp[4] & LIBERAL:
        return b""
    who = ctsamples.expected_delete(sample)[20:]
    body = bytes((2, 0, 0, 0)) + who + nest(4, nest(1, attr(4, FLAG), attr(5, FLAG)))
    return struct.pack("=IHHII", 16 + len(body), 0x0100, 0x0001, 0, 0) + body


@given(ctsamples.samples(), ctsamples.samples())
def test_what_is_strict_gets_the_flag_and_nothing_else(one: Sample, other: Sample) -> None:
    loosener = Loosener()
    for sample in (one, other, one):  # learned, then known
        assert loosener.request(ctsamples.event(sample)) == expected(sample)


def test_one_liberal_direction_is_not_enough() -> None:
    sample = _tcp(LIBERAL, 0)
    loosener = Loosener()
    assert loosener.request(ctsamples.event(sample)) == expected(sample) != b""
    assert loosener.request(ctsamples.event(_tcp(LIBERAL, LIBERAL))) == b""


def test_what_is_no_entry_of_ipv4_is_left() -> None:
    loosener = Loosener()
    event = ctsamples.event(_tcp(0, 0))
    assert loosener.request(event[:16] + b"\x0a" + event[17:]) == b""  # IPv6
    assert loosener.request(b"") == b""
    assert loosener.request(event[:-4]) == b""


def test_the_recorded_ones() -> None:
    """Messages of a real kernel: TCP gets a request, the rest does not."""
    loosener = Loosener()
    for name, message in ctsamples.recorded().items():
        if "tcp" not in name:
            assert loosener.request(message) == b"", name


def _tcp(flags_orig: int, flags_reply: int) -> Sample:
    way = ctsamples.Way(bytes((10, 1, 0, 10)), bytes((10, 2, 0, 10)), 4000, 80)
    back = ctsamples.Way(way.dst, way.src, 80, 4000)
    sample = Sample(TCP, way, back, 0xE, 30)
    return replace(sample, tcp=(3, 7, 7, flags_orig, flags_reply))
