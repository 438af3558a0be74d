"""BFD's frames: what is built is read again, passes the filter, and is judged by its headers."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.proto import bfdframe, bpf
from carpool.proto.carp import checksum
from tests.unit.proto.test_bpf import HOST, MULTICAST, OTHER_HOST, run

MACS = bytes((2, 0, 0, 0, 0, 2)), bytes((2, 0, 0, 0, 0, 1))
ROADS = (("10.1.1.2", "10.1.1.3"), ("fd00::2", "fd00::3"), ("fe80::2", "fe80::3"))
PAYLOAD = bytes(range(52))
PROGRAM = bpf.udp_filter(3784)


def frame(road: tuple[str, str] = ROADS[0], payload: bytes = PAYLOAD) -> bytes:
    source, peer = map(ip_address, road)
    return bfdframe.build(MACS, source, peer, 50_000, payload)


@pytest.mark.parametrize("road", ROADS)
def test_what_is_built_is_read_and_passes_the_filter(road: tuple[str, str]) -> None:
    built = frame(road)
    assert built[:12] == MACS[0] + MACS[1]
    assert bfdframe.parse(built) == (ip_address(road[0]).packed, 255, PAYLOAD)
    assert run(PROGRAM, built, HOST) == bpf.SNAP_BYTES
    # A device pads short frames.
    assert bfdframe.parse(built + bytes(9)) == (ip_address(road[0]).packed, 255, PAYLOAD)


def test_checksums_are_right() -> None:
    assert checksum(frame()[14:34]) == 0
    for payload in (PAYLOAD, PAYLOAD[:-1]):
        packet = frame(ROADS[1], payload)[14:]
        udp = packet[40:] + b"\0" * (len(payload) % 2)
        ends = packet[8:40] + len(packet[40:]).to_bytes(4, "big") + bytes((0, 0, 0, 17))
        assert checksum(ends + udp) == 0


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("packet_type", [1, MULTICAST, OTHER_HOST, 4])
def test_frames_for_others_are_not_let_through(road: tuple[str, str], packet_type: int) -> None:
    assert run(PROGRAM, frame(road), packet_type) == 0


@pytest.mark.parametrize("road", ROADS)
def test_a_tagged_frame_belongs_to_a_vlan(road: tuple[str, str]) -> None:
    assert run(PROGRAM, frame(road), HOST, 7) == 0
    assert run(PROGRAM, frame(road), HOST, 0x2000) == bpf.SNAP_BYTES


def test_other_ports_and_protocols_and_fragments_are_not_let_through() -> None:
    for road, at in ((ROADS[0], 36), (ROADS[1], 56)):
        built = bytearray(frame(road))
        built[at : at + 2] = (3785).to_bytes(2, "big")
        assert run(PROGRAM, bytes(built), HOST) == 0
        assert bfdframe.parse(bytes(built)) is None
    for offset, value in ((23, 6), (20, 0x20), (12, 0x86)):
        built = bytearray(frame())
        built[offset] = value
        assert run(PROGRAM, bytes(built), HOST) == 0
        assert bfdframe.parse(bytes(built)) is None


def test_options_of_ipv4_are_stepped_over() -> None:
    built = frame()
    head = bytearray(built[14:34] + bytes((1, 1, 1, 1)))
    head[0], head[10:12] = 0x46, bytes(2)
    head[2:4] = (len(built) - 14 + 4).to_bytes(2, "big")
    head[10:12] = checksum(bytes(head)).to_bytes(2, "big")
    longer = built[:14] + bytes(head) + built[34:]
    assert run(PROGRAM, longer, HOST) == bpf.SNAP_BYTES
    assert bfdframe.parse(longer) == (ip_address(ROADS[0][0]).packed, 255, PAYLOAD)


@pytest.mark.parametrize("road", ROADS)
def test_a_frame_that_is_cut_anywhere_is_none(road: tuple[str, str]) -> None:
    built = frame(road)
    assert all(bfdframe.parse(built[:length]) is None for length in range(len(built)))


def test_a_broken_head_is_none() -> None:
    built = bytearray(frame())
    built[22] ^= 1  # the hop limit, and the checksum is not
    assert bfdframe.parse(bytes(built)) is None


@given(st.binary(max_size=200), st.sampled_from((b"\x08\x00", b"\x86\xdd", b"\x08\x06")))
def test_no_bytes_raise(body: bytes, ether_type: bytes) -> None:
    bfdframe.parse(body)
    bfdframe.parse(bytes(12) + ether_type + body)
    run(PROGRAM, bytes(12) + ether_type + body, HOST)


def test_the_filter_of_a_mute_port_lets_nothing_through() -> None:
    assert run(bpf.nothing(), frame(), HOST) == 0
