"""What a new master changes in its entries, against plain bytes."""

from __future__ import annotations

import struct
from dataclasses import replace

from hypothesis import given

from carpool.proto.ctsweep import Sweeper
from tests.unit.proto import ctsamples
from tests.unit.proto.ctsamples import TCP, Sample, attr, nest

LIBERAL = 0x08  # IP_CT_TCP_FLAG_BE_LIBERAL
FLAG = bytes((LIBERAL, LIBERAL))  # value, mask


TIMEOUTS = {1: (30, 30), 6: (432000, 432000), 17: (30, 120), 47: (30, 180), 58: (30, 30)}
QUIET_S = 3600  # of a copy


def expected(sample: Sample) -> bytes:
    """The original tuple and zone, as a delete has them, and nothing but what changes."""
    change = b""
    if sample.tcp is not None:
        strict = not sample.tcp[3] & sample.tcp[4] & LIBERAL
        if strict:
            change += nest(4, nest(1, attr(4, FLAG), attr(5, FLAG)))
        if sample.tcp[0] == 3 and (strict or sample.timeout <= QUIET_S):
            change += attr(7, struct.pack(">I", 432000))
    elif sample.protocol in TIMEOUTS:
        most_s = TIMEOUTS[sample.protocol][bool(sample.status & 4)]
        change = attr(7, struct.pack(">I", most_s)) if sample.timeout > most_s else b""
    if not change:
        return b""
    who = ctsamples.expected_delete(sample)[20:]
    body = bytes((sample.family, 0, 0, 0)) + who + change
    return struct.pack("=IHHII", 16 + len(body), 0x0100, 0x0001, 0, 0) + body


@given(ctsamples.samples(), ctsamples.samples())
def test_windows_and_timeouts_are_put_in_order_and_nothing_else(one: Sample, other: Sample) -> None:
    sweeper = Sweeper(TIMEOUTS)
    for sample in (one, other, one):  # learned, then known
        assert sweeper.request(ctsamples.event(sample)) == expected(sample)


def test_one_liberal_direction_is_not_enough() -> None:
    sample = _tcp(LIBERAL, 0)
    sweeper = Sweeper(TIMEOUTS)
    assert sweeper.request(ctsamples.event(sample)) == expected(sample) != b""
    sample = replace(_tcp(LIBERAL, LIBERAL), timeout=432000)
    assert sweeper.request(ctsamples.event(sample)) == b""


def test_what_is_no_entry_is_left() -> None:
    sweeper = Sweeper(TIMEOUTS)
    event = ctsamples.event(_tcp(0, 0))
    assert sweeper.request(event[:16] + b"\x07" + event[17:]) == b""
    assert sweeper.request(b"") == b""
    assert sweeper.request(event[:-4]) == b""


def test_an_idle_tcp_connection_may_be_idle_as_long_as_ever() -> None:
    sweeper = Sweeper(TIMEOUTS)
    for timeout_s, changes in ((3600, True), (100, True), (3601, False)):
        request = sweeper.request(ctsamples.event(replace(_tcp(8, 8), timeout=timeout_s)))
        assert bool(request) is changes, timeout_s


def test_a_timeout_of_udp_is_lowered_and_never_raised() -> None:
    way = ctsamples.Way(bytes((10, 1, 0, 10)), bytes((10, 2, 0, 10)), 4000, 53)
    udp = Sample(17, way, ctsamples.Way(way.dst, way.src, 53, 4000), 0xE, 0)
    sweeper = Sweeper(TIMEOUTS)
    for timeout_s, changes in ((3600, True), (121, True), (120, False), (5, False)):
        request = sweeper.request(ctsamples.event(replace(udp, timeout=timeout_s)))
        assert bool(request) is changes, timeout_s
        assert not changes or request.endswith(struct.pack(">I", 120))


def _tcp(flags_orig: int, flags_reply: int) -> Sample:
    way = ctsamples.Way(bytes((10, 1, 0, 10)), bytes((10, 2, 0, 10)), 4000, 80)
    back = ctsamples.Way(way.dst, way.src, 80, 4000)
    sample = Sample(TCP, way, back, 0xE, 30)
    return replace(sample, tcp=(3, 7, 7, flags_orig, flags_reply))
