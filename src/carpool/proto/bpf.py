"""The classic BPF programs that pick advertisements, or BFD, out of all frames of a device.

Room: proto. Instructions as bytes (struct sock_filter, include/uapi/linux/filter.h); refuses to
know the socket they are attached to.
"""

from __future__ import annotations

import struct

from carpool.proto.ipheader import ETHERTYPE_IPV4, ETHERTYPE_IPV6

SNAP_BYTES = 512  # of a frame that is let through: an advertisement has 90 at most

_INSTRUCTION = struct.Struct("=HBBI")  # code, jump if true, jump if false, operand
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30  # BPF_LD | size | BPF_ABS
_AND, _IF_GREATER, _IF_EQUAL, _IF_ANY_BIT, _RETURN = 0x54, 0x25, 0x15, 0x45, 0x06
_LOAD_HALF_FROM_X, _X_TO_HEADER = 0x48, 0xB1  # BPF_LD | BPF_H | BPF_IND; BPF_LDX | BPF_B | BPF_MSH
_ANCILLARY = 0xFFFFF000  # SKF_AD_OFF: what the kernel knows beside the bytes
_PACKET_TYPE, _VLAN_TAG = _ANCILLARY + 4, _ANCILLARY + 44
_MULTICAST = 2  # PACKET_HOST 0, PACKET_BROADCAST 1, PACKET_MULTICAST 2: meant for us
_VLAN_ID = 0x0FFF
_FRAGMENTED = 0x3FFF
_UDP = 17

_REJECT = 0xFF  # a placeholder: the distance to the last instruction


def advert_filter(protocol: int) -> bytes:
    """Whole frames in, `SNAP_BYTES` of those with an IP packet of `protocol` out.

    Not let through: frames for other hosts, our own outgoing ones, fragments, tagged frames (they
    belong to a VLAN device; VLAN 0 is a mere priority and belongs here).
    """
    program = [
        (_LOAD_WORD, 0, 0, _PACKET_TYPE),
        (_IF_GREATER, _REJECT, 0, _MULTICAST),
        (_LOAD_WORD, 0, 0, _VLAN_TAG),
        (_IF_ANY_BIT, _REJECT, 0, _VLAN_ID),
        (_LOAD_HALF, 0, 0, 12),
        (_IF_EQUAL, 0, 4, ETHERTYPE_IPV4),  # else: to the test for IPv6
        (_LOAD_HALF, 0, 0, 14 + 6),
        (_IF_ANY_BIT, _REJECT, 0, _FRAGMENTED),
        (_LOAD_BYTE, 0, 0, 14 + 9),
        (_IF_EQUAL, 3, _REJECT, protocol),  # to the return that accepts
        (_IF_EQUAL, 0, _REJECT, ETHERTYPE_IPV6),
        (_LOAD_BYTE, 0, 0, 14 + 6),
        (_IF_EQUAL, 0, _REJECT, protocol),
        (_RETURN, 0, 0, SNAP_BYTES),
        (_RETURN, 0, 0, 0),
    ]
    return _assemble(program)


def udp_filter(port: int) -> bytes:
    """The same of UDP to `port`, for frames to this device's own address alone."""
    program = [
        (_LOAD_WORD, 0, 0, _PACKET_TYPE),
        (_IF_EQUAL, 0, _REJECT, 0),  # PACKET_HOST
        (_LOAD_WORD, 0, 0, _VLAN_TAG),
        (_IF_ANY_BIT, _REJECT, 0, _VLAN_ID),
        (_LOAD_HALF, 0, 0, 12),
        (_IF_EQUAL, 0, 7, ETHERTYPE_IPV4),  # else: to the test for IPv6
        (_LOAD_HALF, 0, 0, 14 + 6),
        (_IF_ANY_BIT, _REJECT, 0, _FRAGMENTED),
        (_LOAD_BYTE, 0, 0, 14 + 9),
        (_IF_EQUAL, 0, _REJECT, _UDP),
        (_X_TO_HEADER, 0, 0, 14),
        (_LOAD_HALF_FROM_X, 0, 0, 14 + 2),
        (_IF_EQUAL, 5, _REJECT, port),  # to the return that accepts
        (_IF_EQUAL, 0, _REJECT, ETHERTYPE_IPV6),
        (_LOAD_BYTE, 0, 0, 14 + 6),
        (_IF_EQUAL, 0, _REJECT, _UDP),
        (_LOAD_HALF, 0, 0, 14 + 40 + 2),
        (_IF_EQUAL, 0, _REJECT, port),
        (_RETURN, 0, 0, SNAP_BYTES),
        (_RETURN, 0, 0, 0),
    ]
    return _assemble(program)


def nothing() -> bytes:
    """For a socket that is to be there, and to hear nothing."""
    return _assemble([(_RETURN, 0, 0, 0)])


def _assemble(program: list[tuple[int, int, int, int]]) -> bytes:
    last = len(program) - 1

    def jump(distance: int, at: int) -> int:
        return last - at - 1 if distance == _REJECT else distance

    return b"".join(
        _INSTRUCTION.pack(code, jump(true, at), jump(false, at), operand)
        for at, (code, true, false, operand) in enumerate(program)
    )
