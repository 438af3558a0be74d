"""Frames between two nodes: cutting a byte stream, greetings, and hostile bytes."""

from __future__ import annotations

import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.proto import statestream as ss
from carpool.proto.statestream import Broken, Frame, Hello, Kind, Parser

frames = st.builds(Frame, st.sampled_from(Kind), st.binary(max_size=900))


def cut(parser: Parser, data: bytes) -> list[Frame | Broken]:
    """Feed and take all out; after Broken nothing more can come."""
    parser.feed(data)
    found: list[Frame | Broken] = []
    while (frame := parser.next()) is not None:
        found.append(frame)
        if isinstance(frame, Broken):
            break
    return found


@given(st.lists(frames, max_size=6), st.lists(st.integers(1, 2000), max_size=30))
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    sent: list[Frame], sizes: list[int]
) -> None:
    data = b"".join(ss.build(frame.kind, frame.payload) for frame in sent)
    parser, got, at = Parser(), list[Frame | Broken](), 0
    for size in [*sizes, len(data)]:
        got += cut(parser, data[at : at + size])
        at += size
    assert got == sent


def test_a_frame_on_the_wire() -> None:
    assert ss.build(Kind.EVENTS, b"abc") == bytes.fromhex("00000003 03 000000") + b"abc"
    assert ss.build(Kind.KEEPALIVE) == bytes.fromhex("00000000 07 000000")


@given(st.binary(max_size=3000), st.integers(1, 500))
def test_garbage_gives_frames_or_one_reason_never_an_exception(data: bytes, size: int) -> None:
    """And the same whether it comes whole or in pieces."""
    whole, pieces = Parser(), Parser()
    got: list[Frame | Broken] = []
    for at in range(0, len(data), size):
        got += cut(pieces, data[at : at + size])
        if got and isinstance(got[-1], Broken):
            break
    assert got == cut(whole, data)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("00000000 00 000000", "no frame starts with"),
        ("00000000 ff 000000", "no frame starts with"),
        ("00000000 07 000001", "no frame starts with"),
        ("16030100 c5 010000", "it speaks TLS"),
        ("15030300 02 022800", "it speaks TLS"),
        ("00000401 03 000000", "EVENTS of 1025 bytes, expected 1024 at most"),
        ("ffffffff 01 000000", "HELLO of 4294967295 bytes"),
    ],
)
def test_an_impossible_header_ends_the_stream_for_good(header: str, reason: str) -> None:
    parser = Parser()
    parser.feed(ss.build(Kind.KEEPALIVE) + bytes.fromhex(header) + bytes(5000))
    assert parser.next() == Frame(Kind.KEEPALIVE)
    broken = parser.next()
    assert isinstance(broken, Broken) and reason in broken.reason
    parser.feed(ss.build(Kind.KEEPALIVE))
    assert parser.next() is broken


def test_big_frames_are_for_those_who_have_greeted() -> None:
    big = ss.build(Kind.EVENTS, bytes(ss.FRAME_MAX_BYTES))
    assert isinstance(cut(Parser(), big)[0], Broken)
    parser = Parser()
    parser.trust()
    assert cut(parser, big) == [Frame(Kind.EVENTS, bytes(ss.FRAME_MAX_BYTES))]
    too_big = struct.pack(">IB3x", ss.FRAME_MAX_BYTES + 1, Kind.EVENTS)
    assert isinstance(cut(parser, too_big)[0], Broken)


def hello(data: bytes) -> Hello | Broken:
    frame = cut(Parser(), data)[0]
    assert isinstance(frame, Frame) and frame.kind is Kind.HELLO
    return ss.parse_hello(frame.payload)


@given(st.text(max_size=50), st.text(max_size=50))
def test_a_greeting_comes_out_as_it_went_in(group: str, node: str) -> None:
    assert hello(ss.build_hello(group, node)) == Hello(group, node)


def test_a_name_that_is_too_long_is_cut() -> None:
    read = hello(ss.build_hello("g" * 300, "n" * 300))
    assert read == Hello("g" * 255, "n" * 255)


def test_a_greeting_on_the_wire() -> None:
    mark = "04030201" if sys.byteorder == "little" else "01020304"
    payload = f"636172706f6f6c00 0004 {mark} 01 67 03 667731"
    assert ss.build_hello("g", "fw1")[8:] == bytes.fromhex(payload)


def test_a_machine_of_the_other_byte_order_is_told_apart() -> None:
    payload = bytearray(ss.build_hello("g", "n")[8:])
    payload[10:14] = payload[10:14][::-1]
    assert ss.parse_hello(bytes(payload)) == Hello("g", "n", same_order=False)


def test_of_another_version_only_its_number_is_read() -> None:
    payload = bytearray(ss.build_hello("g", "n")[8:])
    payload[8:10] = (7).to_bytes(2, "big")
    del payload[14:]
    assert ss.parse_hello(bytes(payload)) == Hello("", "", version=7)


@pytest.mark.parametrize("payload", [b"", b"carpool\0\0\1", b"SSH-2.0-OpenSSH_9.2\r\n"])
def test_who_greets_otherwise_is_no_states_process(payload: bytes) -> None:
    assert isinstance(ss.parse_hello(payload), Broken)


def test_a_greeting_that_ends_within_its_names_is_broken() -> None:
    payload = ss.build_hello("group", "node")[8:]
    for end in range(14, len(payload)):
        assert isinstance(ss.parse_hello(payload[:end]), Broken), end


@given(st.binary(max_size=100))
def test_a_garbled_greeting_never_raises(garbage: bytes) -> None:
    good = ss.build_hello("g", "n")[8:]
    for payload in (garbage, good[:10] + garbage, good[:14] + garbage):
        assert isinstance(ss.parse_hello(payload), Hello | Broken)
