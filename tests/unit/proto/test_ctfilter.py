"""The filter of the event socket, run by a small interpreter of classic BPF.

tests/netns/test_states_kernel.py attaches the same program to a real socket.
"""

from __future__ import annotations

import struct
import sys
from dataclasses import replace

import pytest

from carpool.model.config import EXCLUSIONS_MAX
from carpool.proto.ctexclude import MarkFilter
from carpool.proto.ctfilter import event_filter
from tests.unit.proto import ctsamples
from tests.unit.proto.ctsamples import recorded

RECORDED = recorded()
OURS = 0x1234ABCD
SIZES = {0x20: 4, 0x28: 2, 0x40: 4, 0x50: 1}  # of what an instruction loads


def passes(program: bytes, message: bytes) -> bool:
    """net/core/filter.c, as far as our program uses it."""
    code = list(struct.iter_unpack("=HBBI", program))
    a, x, at, stored = 0, 0, 0, 0
    for _ in range(200):
        op, true, false, k = code[at]
        at += 1
        match op:
            case 0x20 | 0x28 | 0x30 if k >= 0xFFFFF000:
                a = attribute(message, a, x, nested=k - 0xFFFFF000 == 16)
            case 0x20 | 0x28:
                a = int.from_bytes(message[k : k + SIZES[op]], "big")
            case 0x00:
                a = k
            case 0x01:
                x = k
            case 0x07:
                x = a
            case 0x02 if k == 0:
                stored = a
            case 0x60 if k == 0:
                a = stored
            case 0x40 | 0x50:
                a = int.from_bytes(message[x + k : x + k + SIZES[op]], "big")
            case 0x54:
                a &= k
            case 0x15:
                at += true if a == k else false
            case 0x45:
                at += true if a & k else false
            case 0x06:
                return bool(k)
            case _:
                raise AssertionError(f"unknown instruction {op:#x}")
    raise AssertionError("no return")


def attribute(message: bytes, start: int, type_: int, *, nested: bool) -> int:
    """SKF_AD_NLATTR and SKF_AD_NLATTR_NEST: the offset of an attribute, or 0."""
    end = len(message)
    if nested:
        (length,) = struct.unpack_from("=H", message, start)
        start, end = start + 4, start + length
    while start + 4 <= end:
        length, found = struct.unpack_from("=HH", message, start)
        if found & 0x3FFF == type_:
            return start
        start += (length + 3) & ~3
    return 0


def with_port(message: bytes, port: int) -> bytes:
    return message[:12] + struct.pack("=I", port) + message[16:]


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("name", sorted(RECORDED))
def test_our_own_changes_never_come_back_and_those_of_others_do(name: str, every: bool) -> None:
    program = event_filter(OURS, every=every)
    assert not passes(program, with_port(RECORDED[name], OURS))
    swapped = int.from_bytes(OURS.to_bytes(4, "little"), "big")
    for port in (0, 1, OURS + 1, OURS - 1, swapped):
        # All that was recorded was assured, or ICMP with an answer.
        assert passes(program, with_port(RECORDED[name], port))


def destroyed(protocol: int, status: int) -> bytes:
    way = ctsamples.Way(bytes((10, 1, 0, 10)), bytes((10, 2, 0, 10)), 5, 5)
    back = ctsamples.Way(way.dst, way.src, 5, 5)
    return ctsamples.event(ctsamples.Sample(protocol, way, back, status, 0, destroy=True))


@pytest.mark.parametrize(
    ("protocol", "status", "wakes"),
    [
        (6, 0x188, False),  # a SYN that nobody answered
        (6, 0x18A, False),  # one that was answered, and no more
        (6, 0x18E, True),
        (17, 0x18A, False),  # a DNS query and its answer
        (17, 0x18E, True),
        (1, 0x188, False),  # an echo request without answer
        (1, 0x18A, True),
        (58, 0x18A, True),
        (132, 0x18A, False),
    ],
)
def test_the_end_of_what_never_began_for_us_wakes_nobody(
    protocol: int, status: int, wakes: bool
) -> None:
    message = destroyed(protocol, status)
    assert passes(event_filter(OURS, every=False), message) is wakes
    assert passes(event_filter(OURS, every=True), message)
    new = message[:4] + struct.pack("=H", 0x0100) + message[6:]
    assert passes(event_filter(OURS, every=False), new)


def test_a_message_without_status_or_tuple_is_left_to_the_parser() -> None:
    program = event_filter(OURS, every=False)
    assert passes(program, ctsamples.message(0x0102, 0, b""))
    status = ctsamples.attr(3, b"\0\0\0\2")
    assert passes(program, ctsamples.message(0x0102, 0, status))


def test_the_constants_are_turned_as_this_machine_writes() -> None:
    second = struct.unpack_from("=HBBI", event_filter(0x01020304, every=True), 8)
    assert second[3] == (0x04030201 if sys.byteorder == "little" else 0x01020304)


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize(
    ("mark", "told"), [(None, True), (0x1, True), (0x80000000, False), (0xFF0001, False)]
)
def test_the_end_of_what_a_mark_excludes_is_not_told(
    mark: int | None, told: bool, every: bool
) -> None:
    marks = [MarkFilter(0x80000000, 0x80000000), MarkFilter(0xFF0000, 0xFF0000)]
    program = event_filter(OURS, every=every, marks=marks)
    ends = (ctsamples.Way(b"\1\2\3\4", b"\5\6\7\x08", 1, 2),) * 2
    gone = ctsamples.Sample(17, *ends, status=0xE, timeout=0, mark=mark, destroy=True)
    assert passes(program, ctsamples.event(gone)) is told
    # A change is: the copy at the peers must go.
    assert passes(program, ctsamples.event(replace(gone, destroy=False)))


@pytest.mark.parametrize("every", [False, True])
def test_as_many_marks_as_a_configuration_may_have(every: bool) -> None:
    """`exclude` is full of marks, and `no_sync_mark` is another one."""
    marks = [MarkFilter(number, 0xFF) for number in range(EXCLUSIONS_MAX + 1)]
    program = event_filter(OURS, every=every, marks=marks)
    way = ctsamples.Way(b"\1\2\3\4", b"\5\6\7\x08", 1, 2)
    for mark, told in ((0x1_00, False), (0x1_20, False), (0x1_21, True), (None, True)):
        gone = ctsamples.Sample(17, way, way, status=0xE, timeout=0, mark=mark, destroy=True)
        assert passes(program, ctsamples.event(gone)) is told
    own = ctsamples.Sample(17, way, way, status=0xE, timeout=0, port=OURS)
    assert not passes(program, ctsamples.event(own))
