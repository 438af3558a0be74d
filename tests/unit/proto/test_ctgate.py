"""What a peer may ask of our kernel, and that nothing else gets through."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.proto.ctgate import Gate, requests
from tests.unit.proto import ctsamples
from tests.unit.proto.ctsamples import ICMP, TCP, UDP, Sample, Way, attr, message, nest

A, B = bytes((10, 1, 0, 10)), bytes((10, 2, 0, 10))
SAMPLE = Sample(UDP, Way(A, B, 4000, 53), Way(B, A, 53, 4000), 0xE, 30)
CREATE, DELETE = ctsamples.expected_create(SAMPLE), ctsamples.expected_delete(SAMPLE)
ORIG = CREATE[20:72]  # CTA_TUPLE_ORIG
DELETE_WITH_HELPER = message(0x0102, 1, ORIG + nest(5, attr(1, b"ftp\0")))


@given(st.lists(st.tuples(ctsamples.samples(), st.booleans()), max_size=6))
def test_all_that_a_peer_sends_passes(picked: list[tuple[Sample, bool]]) -> None:
    gate = Gate()
    made = [
        (ctsamples.expected_delete if delete else ctsamples.expected_create)(sample)
        for sample, delete in picked
    ]
    for _ in range(2):  # learned, then known
        assert gate.check(b"".join(made)) == len(made)
    assert list(requests(b"".join(made))) == made


def patched(request: bytes, at: int, value: bytes) -> bytes:
    return request[:at] + value + request[at + len(value) :]


@given(st.integers(0, 199), st.integers(4, 71))
def test_a_run_hides_nobody(place: int, at: int) -> None:
    """One bad request among many of the same form: found wherever it is."""
    gate = Gate()
    good = [patched(CREATE, 60, struct.pack(">H", port)) for port in range(200)]
    assert gate.check(b"".join(good)) == 200
    assert gate.check(b"".join([*good, *good])) == 400
    spoiled = patched(CREATE, at, bytes([CREATE[at] ^ 0x81]))
    alone = Gate().check(spoiled)
    expected: int | str = 200
    if isinstance(alone, str):
        expected = alone.replace("request 1", f"request {place + 1}")
    assert gate.check(b"".join([*good[:place], spoiled, *good[place + 1 :]])) == expected


REFUSED = {
    "a flush: a delete of nothing": message(0x0102, 1, b""),
    "a flush of one zone": message(0x0102, 1, attr(18, b"\0\5")),
    "a delete with an empty tuple": message(0x0102, 1, nest(1)),
    "a delete by the reply alone": message(0x0102, 1, nest(2) + CREATE[72:124]),
    "a delete of one direction of nobody": message(0x0102, 1, ORIG[:24]),
    "a filter in a delete": message(0x0102, 1, ORIG + attr(8, b"\0\0\0\1")),
    "a dump": message(0x0101, 0x301, b""),
    "an update": patched(CREATE, 6, struct.pack("=H", 0x0001)),
    "a create that replaces": patched(CREATE, 6, struct.pack("=H", 0x0501)),
    "a create that wants an answer": patched(CREATE, 6, struct.pack("=H", 0x0605)),
    "a create with an echo": patched(CREATE, 6, struct.pack("=H", 0x0609)),
    "an entry as an expectation": patched(CREATE, 4, struct.pack("=H", 0x0200)),
    "a flush of all expectations": message(0x0202, 1, b""),
    "an nftables request": patched(CREATE, 4, struct.pack("=H", 0x0A00)),
    "the begin of a batch": message(0x10, 1, b""),
    "an end": message(3, 1, b""),
    "another family": patched(CREATE, 16, b"\x0a"),
    "a create without a reply": message(0x0100, 0x0601, ORIG),
    "a create without a tuple": message(0x0100, 0x0601, attr(7, b"\0\0\0\1")),
    "a helper that is none, whose module would be looked for": message(
        0x0100, 0x0601, CREATE[20:] + nest(5, attr(1, b"evil\0"))
    ),
    "a helper without a name": message(0x0100, 0x0601, CREATE[20:] + nest(5)),
    "private data of a helper": message(
        0x0100, 0x0601, CREATE[20:] + nest(5, attr(1, b"ftp\0"), attr(2, b"data"))
    ),
    "a helper in a deletion": DELETE_WITH_HELPER,
    "a master that is none": message(0x0100, 0x0601, CREATE[20:] + nest(14)),
    "labels of another length": message(0x0100, 0x0601, CREATE[20:] + attr(22, bytes(12))),
    "moved numbers of a wrong size": message(
        0x0100, 0x0601, CREATE[20:] + nest(15, attr(1, bytes(3)))
    ),
    "an attribute of the future": message(0x0100, 0x0601, CREATE[20:] + attr(99, b"")),
    "an attribute twice": message(0x0100, 0x0601, CREATE[20:] + CREATE[20:72]),
    "a tuple that runs past the end": patched(CREATE, 20, struct.pack("=H", 0x7FFF)),
    "an address of 3 bytes": message(
        0x0102, 1, nest(1, nest(1, attr(1, A[:3]), attr(2, B)), ORIG[24:])
    ),
    "a number that our own requests would have": patched(CREATE, 8, b"\1"),
    "the port of another process": patched(CREATE, 12, b"\1"),
    "a stray byte": CREATE + b"\0",
    "half a header": CREATE[:10],
    "a length beyond the frame": patched(CREATE, 0, struct.pack("=I", len(CREATE) + 4)),
    "a length within the header": patched(CREATE, 0, struct.pack("=I", 16)),
    "a length of nothing": patched(CREATE, 0, bytes(4)),
    "an odd length": patched(CREATE, 0, struct.pack("=I", len(CREATE) - 3)),
}


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_nothing_else_reaches_the_kernel(what: str) -> None:
    gate = Gate()
    assert gate.check(CREATE + DELETE) == 2  # what passes teaches nothing that lets others pass
    for payload in (REFUSED[what], CREATE + REFUSED[what], DELETE + REFUSED[what]):
        assert isinstance(gate.check(payload), str), what


@pytest.mark.parametrize("protocol", [0, 2, 50, 255])
def test_ports_of_protocols_that_have_none_are_refused(protocol: int) -> None:
    at = CREATE.index(bytes((UDP, 0, 0, 0)), 44)
    assert CREATE[at - 4 : at] == struct.pack("=HH", 5, 1)
    assert isinstance(Gate().check(patched(DELETE, at, bytes([protocol]))), str)


@given(ctsamples.samples(), st.integers(0, 400), st.binary(min_size=1, max_size=6))
def test_a_changed_byte_passes_only_as_a_value(sample: Sample, at: int, change: bytes) -> None:
    """Whatever gets through has the type, the flags and the attributes of a request of ours."""
    gate = Gate()
    request = ctsamples.expected_create(sample)
    assert gate.check(request) == 1
    at %= len(request)
    broken = patched(request, at, change)[: len(request)]
    verdict = gate.check(broken)
    if verdict == 1:
        assert broken[:20] == request[:20]
        assert headers(broken) == headers(request)
    else:
        assert isinstance(verdict, str)


def headers(request: bytes) -> list[tuple[int, int]]:
    """Length and type of all attributes, nested ones too."""
    found: list[tuple[int, int]] = []

    def walk(at: int, end: int) -> None:
        while at < end:
            length, type_ = struct.unpack_from("=HH", request, at)
            found.append((length, type_))
            if type_ & 0x8000:
                walk(at + 4, at + length)
            at += (length + 3) & ~3

    walk(20, len(request))
    return found


@given(st.binary(max_size=300))
def test_garbage_is_refused_with_a_reason(payload: bytes) -> None:
    verdict = Gate().check(payload)
    assert verdict == 0 if not payload else isinstance(verdict, str)


def test_all_three_protocols_are_told_apart_by_the_gate() -> None:
    """A shape learned from one protocol does not let another one's number pass."""
    gate = Gate()
    tcp = Sample(TCP, SAMPLE.orig, SAMPLE.reply, 0xE, 30, tcp=(3, 0, 0, 0, 0))
    icmp = Sample(ICMP, Way(A, B, 9, 9), Way(B, A, 9, 9), 0xA, 30)
    for sample in (SAMPLE, tcp, icmp):
        assert gate.check(ctsamples.expected_create(sample)) == 1
        assert gate.check(ctsamples.expected_delete(sample)) == 1
