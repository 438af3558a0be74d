"""Netlink framing: padding, nesting, walks over damaged bytes, and answers of a kernel."""

import errno
import struct

from hypothesis import given
from hypothesis import strategies as st

from carpool.proto import netlink as nl


def test_an_attribute_is_padded_but_its_length_is_not() -> None:
    assert nl.string(3, "lan0") == struct.pack("=HH", 9, 3) + b"lan0\0\0\0\0"


def test_nesting_sets_the_flag_and_holds_whole_attributes() -> None:
    raw = nl.nested(18, nl.u8(1, 7), nl.u32(2, 9))

    (outer,) = nl.attributes(raw).items()

    assert raw[2:4] == struct.pack("=H", 18 | 0x8000)
    assert outer[0] == 18
    assert nl.attributes(outer[1]) == {1: b"\x07", 2: struct.pack("=I", 9)}


def test_byte_orders() -> None:
    assert nl.be16(1, 0x0102)[4:6] == b"\x01\x02"
    assert nl.be32(1, 0x01020304)[4:] == b"\x01\x02\x03\x04"
    assert nl.be64(1, 1)[4:] == bytes(7) + b"\x01"
    assert nl.u32(1, 1)[4:] == struct.pack("=I", 1)


def test_joined_messages_are_walked_one_by_one() -> None:
    data = nl.message(16, 1, 5, b"abcde") + nl.message(20, 2, 6, b"")

    assert list(nl.messages(data)) == [
        nl.Message(16, 1, 5, 0, b"abcde"),
        nl.Message(20, 2, 6, 0, b""),
    ]


def test_a_stamp_adds_flags_and_replaces_the_number() -> None:
    stamped = nl.stamped(nl.message(16, nl.NLM_F_REQUEST, 0, b"body"), nl.NLM_F_ACK, 77)

    assert list(nl.messages(stamped)) == [
        nl.Message(16, nl.NLM_F_REQUEST | nl.NLM_F_ACK, 77, 0, b"body")
    ]


def test_a_length_beyond_the_end_ends_the_walk() -> None:
    whole = nl.message(16, 0, 1, b"x" * 8)

    assert list(nl.messages(whole + whole[:-1])) == list(nl.messages(whole))
    assert nl.attributes(nl.u32(1, 1) + b"\xff\xff\x02\x00") == {1: struct.pack("=I", 1)}


def test_a_length_of_zero_does_not_walk_for_ever() -> None:
    assert list(nl.messages(bytes(64))) == []
    assert nl.attributes(bytes(64)) == {}


@given(st.binary(max_size=200))
def test_no_bytes_raise(data: bytes) -> None:
    assert len(list(nl.messages(data))) <= len(data) // nl.HEADER_LEN
    assert len(nl.attributes(data)) <= len(data) // nl.ATTR_LEN


def refusal(flags: int, request: bytes, text: str) -> nl.Message:
    tlvs = nl.string(nl.NLMSGERR_ATTR_MSG, text) if text else b""
    body = struct.pack("=i", -errno.ENODEV) + request + tlvs
    return nl.Message(nl.NLMSG_ERROR, flags, 9, 0, body)


def test_an_acknowledgement_is_errno_zero() -> None:
    request = nl.message(20, 5, 9, b"")
    message = nl.Message(nl.NLMSG_ERROR, 0, 9, 0, bytes(4) + request)

    assert nl.answer(message) == nl.Answer(0, "", 9, 20)


def test_the_kernels_own_words_follow_a_capped_or_a_whole_request() -> None:
    request = nl.message(20, 5, 9, b"seven b")
    expected = nl.Answer(errno.ENODEV, "Device not found", 9, 20)

    capped = refusal(nl.NLM_F_CAPPED | nl.NLM_F_ACK_TLVS, request[:16], "Device not found")
    whole = refusal(nl.NLM_F_ACK_TLVS, request, "Device not found")

    assert nl.answer(capped) == expected
    assert nl.answer(whole) == expected
