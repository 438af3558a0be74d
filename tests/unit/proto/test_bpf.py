"""The filter for adverts, run by a small interpreter of classic BPF (the kernel runs it in
tests/netns/test_kernel_adverts.py)."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.proto import bpf
from carpool.proto import ipheader as ip

CARP, UDP = 112, 17
HOST, MULTICAST, OTHER_HOST, OUTGOING = 0, 2, 3, 4
GROUP_MAC = ip.multicast_mac(ip.GROUP_IPV4)


def run(program: bytes, frame: bytes, packet_type: int = MULTICAST, vlan_tag: int = 0) -> int:
    """How many bytes of the frame are let through. A load beyond its end lets none through."""
    accumulator, at, x = 0, 0, 0
    ancillary = {0xFFFFF004: packet_type, 0xFFFFF02C: vlan_tag}
    instructions: list[tuple[int, int, int, int]] = list(struct.iter_unpack("=HBBI", program))
    while True:
        code, if_true, if_false, operand = instructions[at]
        at += 1
        if code in (0x20, 0x28, 0x30):
            size = {0x20: 4, 0x28: 2, 0x30: 1}[code]
            raw = frame[operand : operand + size]
            if operand in ancillary:
                accumulator = ancillary[operand]
            elif len(raw) == size:
                accumulator = int.from_bytes(raw, "big")
            else:
                return 0
        elif code == 0xB1:
            if operand >= len(frame):
                return 0
            x = (frame[operand] & 0x0F) * 4
        elif code == 0x48:
            raw = frame[operand + x : operand + x + 2]
            if len(raw) < 2:
                return 0
            accumulator = int.from_bytes(raw, "big")
        elif code == 0x06:
            return operand
        else:
            tests = {
                0x15: accumulator == operand,
                0x25: accumulator > operand,
                0x45: bool(accumulator & operand),
            }
            at += if_true if tests[code] else if_false


def frame(version: int = 4, protocol: int = CARP, fragment: int | None = None) -> bytes:
    if version == 6:
        packet = ip.build(ip_address("fe80::1"), ip.GROUP_IPV6, protocol, bytes(36))
        return ip.frame(GROUP_MAC, bytes(6), ip.ETHERTYPE_IPV6, packet)
    packet = ip.build(ip_address("10.1.1.2"), ip.GROUP_IPV4, protocol, bytes(36))
    if fragment is not None:
        packet = packet[:6] + fragment.to_bytes(2, "big") + packet[8:]
    return ip.frame(GROUP_MAC, bytes(6), ip.ETHERTYPE_IPV4, packet)


PROGRAM = bpf.advert_filter(CARP)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("packet_type", [HOST, MULTICAST])
def test_an_advert_passes(version: int, packet_type: int) -> None:
    assert run(PROGRAM, frame(version), packet_type) == bpf.SNAP_BYTES


@pytest.mark.parametrize("version", [4, 6])
def test_a_priority_tag_is_no_vlan(version: int) -> None:
    assert run(PROGRAM, frame(version), vlan_tag=0xE000) == bpf.SNAP_BYTES


@pytest.mark.parametrize("version", [4, 6])
def test_what_is_not_for_us_does_not_pass(version: int) -> None:
    assert run(PROGRAM, frame(version), OTHER_HOST) == 0
    assert run(PROGRAM, frame(version), OUTGOING) == 0
    assert run(PROGRAM, frame(version), vlan_tag=7) == 0
    assert run(PROGRAM, frame(version, UDP)) == 0


@pytest.mark.parametrize("fragment", [0x2000, 0x0001, 0x3FFF])
def test_fragments_do_not_pass(fragment: int) -> None:
    assert run(PROGRAM, frame(fragment=fragment)) == 0


def test_other_ether_types_do_not_pass() -> None:
    arp = frame()[:12] + b"\x08\x06" + frame()[14:]

    assert run(PROGRAM, arp) == 0


@given(st.sampled_from([frame(), frame(6), frame(4, UDP), frame(6, UDP)]), st.integers(0, 14 + 76))
def test_a_short_frame_never_passes_without_its_protocol(whole: bytes, length: int) -> None:
    passed = run(PROGRAM, whole[:length])

    assert passed in (0, bpf.SNAP_BYTES)
    if passed:
        kind = int.from_bytes(whole[12:14], "big")
        assert whole[:length][14 + (9 if kind == ip.ETHERTYPE_IPV4 else 6)] == CARP
