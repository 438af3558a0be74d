"""Expectations: what of them travels, and that nothing else reaches a kernel."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.proto import ctexpect, ctpatch
from carpool.proto import ctmessage as ct
from carpool.proto.ctgate import Gate
from tests.unit.proto.ctsamples import attr, message, nest

# The data of a passive FTP transfer to a server behind destination NAT, as kernel 6.18 tells it.
TUPLE = bytes.fromhex(
    "3400028014000180080001000a02000a080002000a0200641c00028005000100060000000600020000000000"
    "060003008b230000"
)
MASK = bytes.fromhex(
    "340003801400018008000100ffffffff08000200ffffffff1c00028005000100060000000600020000000000"
    "06000300ffff0000"
)
MASTER = bytes.fromhex(
    "3400018014000180080001000a02000a080002000a0200641c000280050001000600000006000200debc0000"
    "0600030000150000"
)
NAT = bytes.fromhex(
    "40000a800800010000000000340002801400018008000100000000000800020000000000"
    "1c0002800500010006000000060002008b2300000600030000000000"
)
FUNCTION = attr(11, b"nat-follow-master\0")
OTHERS = attr(4, b"\0\0\1\x2c") + attr(5, b"\1\2\3\4")
FLAGS, CLASS, HELPER = attr(8, bytes(4)), attr(9, bytes(4)), attr(6, b"ftp\0")
NEW = message(
    0x0200, 0x600, MASTER + TUPLE + MASK + NAT + OTHERS + FLAGS + CLASS + HELPER + FUNCTION, 7, 9
)
GONE = b"".join((struct.pack("=IHHII", len(NEW), 0x0202, 0, 7, 9), NEW[16:]))
CREATE = message(0x0200, 0x0601, TUPLE + MASK + MASTER + FLAGS + NAT + FUNCTION)
DELETE = message(0x0202, 0x0001, TUPLE)
CLIENT, VIP = bytes((10, 2, 0, 10)), bytes((10, 2, 0, 100))


def test_an_event_becomes_the_request_that_a_kernel_takes() -> None:
    assert ctexpect.request(NEW) == CREATE
    assert ctexpect.request(GONE) == DELETE
    assert ctexpect.judge(CREATE) is ctexpect.judge(DELETE) is None
    assert Gate().check(CREATE + DELETE) == 2
    assert ctpatch.is_delete(DELETE) and not ctpatch.is_delete(CREATE)
    assert ctpatch.flow_of(CREATE) == ctpatch.flow_of(DELETE)


def test_an_expectation_is_told_from_an_entry() -> None:
    assert all(ctexpect.concerns(one) for one in (NEW, GONE, CREATE, DELETE))
    assert not ctexpect.concerns(message(0x0100, 0, b""))
    assert not ctexpect.concerns(b"short")


def test_the_patcher_asks_for_its_master_and_tells_it_after_that() -> None:
    """Whose sequence numbers the helper moves when it writes another address, and which may have
    to stay here."""
    patcher = ctpatch.Patcher(ct.Rules(every=False, local=frozenset({VIP})))
    dumped = b"".join((struct.pack("=IHHII", len(NEW), 0x0200, 2, 1, 9), NEW[16:]))
    for told in (NEW, GONE, dumped):
        assert patcher.request(told) == b""
    question = message(0x0101, 1, attr(0x8001, MASTER[4:]))
    assert patcher.questions() == [(question, CREATE), (question, DELETE), (question, CREATE)]
    assert patcher.questions() == [] and not patcher.causes


@pytest.mark.parametrize(
    ("body", "local", "stays"),
    [
        (MASTER + TUPLE + MASK + NAT, VIP, False),  # to the VIP, and from there to a server
        (MASTER + TUPLE + MASK, VIP, True),  # to the VIP, and no further
        (MASTER + TUPLE + MASK + NAT, CLIENT, True),  # from this node
        (MASTER + TUPLE + MASK, b"\1\2\3\4", False),
    ],
)
def test_what_this_node_itself_waits_for_stays_here(body: bytes, local: bytes, stays: bool) -> None:
    patcher = ctpatch.Patcher(ct.Rules(every=False, local=frozenset({local})))
    assert patcher.request(message(0x0200, 0x600, body)) == b""
    assert (patcher.questions() == []) is stays
    assert patcher.causes == ({"skipped_local": 1} if stays else {})


REFUSED = {
    "a flush": message(0x0202, 1, b""),
    "a flush of a helper": message(0x0202, 1, HELPER),
    "a deletion by half a tuple": message(0x0202, 1, nest(2, TUPLE[8:28])),
    "a deletion with a master": message(0x0202, 1, TUPLE + MASTER),
    "a question": message(0x0201, 1, TUPLE),
    "a dump": message(0x0201, 0x301, b""),
    "an update": message(0x0200, 1, TUPLE + MASK + MASTER),
    "no master": message(0x0200, 0x0601, TUPLE + MASK),
    "no mask": message(0x0200, 0x0601, TUPLE + MASTER),
    "another order": message(0x0200, 0x0601, MASTER + TUPLE + MASK),
    "a helper, whose module would be looked for": message(
        0x0200, 0x0601, TUPLE + MASK + MASTER + HELPER
    ),
    "a class": message(0x0200, 0x0601, TUPLE + MASK + MASTER + CLASS),
    "a helper program's": message(0x0200, 0x0601, TUPLE + MASK + MASTER + attr(8, b"\0\0\0\4")),
    "flags of a wrong size": message(0x0200, 0x0601, TUPLE + MASK + MASTER + attr(8, b"\0")),
    "a function of its own": message(0x0200, 0x0601, TUPLE + MASK + MASTER + attr(11, b"run\0")),
    "half a translation": message(
        0x0200, 0x0601, TUPLE + MASK + MASTER + nest(10, attr(1, bytes(4)))
    ),
    "a third direction": message(
        0x0200, 0x0601, TUPLE + MASK + MASTER + nest(10, attr(1, b"\0\0\0\2"), NAT[12:])
    ),
    "an attribute of the future": message(0x0200, 0x0601, TUPLE + MASK + MASTER + attr(99, b"")),
    "a sequence": message(0x0202, 1, TUPLE, 5),
}


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_nothing_else_reaches_the_kernel(what: str) -> None:
    assert isinstance(ctexpect.judge(REFUSED[what]), str)
    assert isinstance(Gate().check(CREATE + REFUSED[what]), str)


@given(st.integers(0, len(NEW)), st.binary(max_size=8))
def test_garbage_is_no_request_or_one_that_may_be_asked(at: int, garbage: bytes) -> None:
    for broken in (NEW[:at], NEW[:at] + garbage + NEW[at + len(garbage) :]):
        if ctexpect.concerns(broken):
            made = ctexpect.request(broken)
            assert made == b"" or Gate().check(made) == 1
        ctexpect.is_local(broken, frozenset({VIP}))
        ctexpect.master_of(broken)


@given(st.integers(16, len(CREATE)), st.binary(min_size=1, max_size=8))
def test_a_changed_request_is_judged_without_an_exception(at: int, change: bytes) -> None:
    broken = (CREATE[:at] + change + CREATE[at + len(change) :])[: len(CREATE)]
    assert Gate().check(broken) == 1 or isinstance(Gate().check(broken), str)
