"""The classic BPF program on the event socket: what the states process is not woken for.

Room: proto. Instructions as bytes (struct sock_filter, include/uapi/linux/filter.h); refuses to
know the socket they are attached to. Loads are big endian, netlink headers host endian: constants
are turned around here. SKF_AD_NLATTR finds a netlink attribute (net/core/filter.c).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from carpool.proto import ctexclude, netlink
from carpool.proto import ctmessage as ct

_INSTRUCTION = struct.Struct("=HBBI")  # code, jump if true, jump if false, operand
_LOAD_WORD, _LOAD_HALF = 0x20, 0x28  # BPF_LD | size | BPF_ABS
_LOAD_CONSTANT, _X_CONSTANT, _TO_X = 0x00, 0x01, 0x07  # BPF_LD|IMM, BPF_LDX|IMM, BPF_TAX
_STORE, _LOAD_STORED = 0x02, 0x60  # BPF_ST, BPF_LD|BPF_MEM
_LOAD_WORD_AT_X, _LOAD_BYTE_AT_X = 0x40, 0x50  # BPF_LD | size | BPF_IND
_IF_EQUAL, _IF_ANY_BIT, _AND, _RETURN = 0x15, 0x45, 0x54, 0x06
_ANCILLARY = 0xFFFFF000  # SKF_AD_OFF
_FIND, _FIND_NESTED = _ANCILLARY + 12, _ANCILLARY + 16  # A: where from; X: which type

# With an "assured" in their lives on every kernel.
_NEVER_BARE = sorted(ct.LASTING - {ct.IP_DCCP})

_ACCEPT, _DROP, _NEXT = "accept", "drop", "next"
_WHOLE = 0xFFFFFFFF

_Instruction = tuple[int, str | int, str, int]  # a number: so many instructions further

_TUPLE_PROTO, _PROTO_NUM = 2, 1  # CTA_TUPLE_PROTO, CTA_PROTO_NUM


def event_filter(
    own_port: int, *, every: bool, marks: Sequence[ctexclude.MarkFilter] = ()
) -> bytes:
    """Drops events that our own injector caused (netlink port `own_port`): they must not echo.

    Drops the end of what these marks exclude: no peer has it.

    Unless `every`, drops the end of what never began for us: a DESTROY of an entry that was not
    assured (a SYN flood, a DNS query), which the kernel tells because the mask of a connection
    cannot say "destroyed after assured".
    """
    program: list[_Instruction] = [
        (_LOAD_WORD, _NEXT, _NEXT, 12),
        (_IF_EQUAL, _DROP, _NEXT, _turned("=I", own_port)),
    ]
    if marks or not every:
        program += [
            (_LOAD_HALF, _NEXT, _NEXT, 4),
            (_IF_EQUAL, _NEXT, _ACCEPT, _turned("=H", ct.MSG_DELETE)),
        ]
    if marks:  # three instructions each: a jump is 255 long at most
        program += [
            *_find(_FIND, ct.Cta.MARK, start=True, missing=3 + 3 * len(marks)),
            (_TO_X, _NEXT, _NEXT, 0),
            (_LOAD_WORD_AT_X, _NEXT, _NEXT, netlink.ATTR_LEN),
            (_STORE, _NEXT, _NEXT, 0),
        ]
    for mark in marks:
        program += [
            (_LOAD_STORED, _NEXT, _NEXT, 0),
            (_AND, _NEXT, _NEXT, mark.mask),
            (_IF_EQUAL, _DROP, _NEXT, mark.value),
        ]
    if not every:
        program += [
            *_find(_FIND, ct.Cta.STATUS, start=True),
            (_TO_X, _NEXT, _NEXT, 0),
            (_LOAD_WORD_AT_X, _NEXT, _NEXT, netlink.ATTR_LEN),
            (_IF_ANY_BIT, _ACCEPT, _NEXT, ct.ASSURED),
            (_IF_ANY_BIT, _NEXT, _DROP, ct.SEEN_REPLY),
            # Answered and not assured: we have told of those only that never get assured.
            *_find(_FIND, ct.Cta.TUPLE_ORIG, start=True),
            *_find(_FIND_NESTED, _TUPLE_PROTO),
            *_find(_FIND_NESTED, _PROTO_NUM),
            (_TO_X, _NEXT, _NEXT, 0),
            (_LOAD_BYTE_AT_X, _NEXT, _NEXT, netlink.ATTR_LEN),
            *((_IF_EQUAL, _DROP, _NEXT, protocol) for protocol in _NEVER_BARE),
        ]
    program += [(_RETURN, _NEXT, _NEXT, _WHOLE), (_RETURN, _NEXT, _NEXT, 0)]
    return _assemble(program)


def _find(
    how: int, type_: int, *, start: bool = False, missing: str | int = _ACCEPT
) -> list[_Instruction]:
    """A: the offset of an attribute; a message without it is accepted, for the parser to judge."""
    return [
        *([(_LOAD_CONSTANT, _NEXT, _NEXT, ct.BODY_AT)] if start else []),
        (_X_CONSTANT, _NEXT, _NEXT, type_),
        (_LOAD_WORD, _NEXT, _NEXT, how),
        (_IF_EQUAL, missing, _NEXT, 0),
    ]


def _turned(form: str, value: int) -> int:
    """What a big-endian load finds where this machine wrote `value`."""
    return int.from_bytes(struct.pack(form, value), "big")


def _assemble(program: list[_Instruction]) -> bytes:
    """The last two instructions are the returns that accept and drop."""
    targets = {_ACCEPT: len(program) - 2, _DROP: len(program) - 1}

    def jump(target: str | int, at: int) -> int:
        if isinstance(target, int):
            return target
        return targets.get(target, at + 1) - at - 1

    return b"".join(
        _INSTRUCTION.pack(
            code,
            jump(true, at) if code in (_IF_EQUAL, _IF_ANY_BIT) else 0,
            jump(false, at) if code in (_IF_EQUAL, _IF_ANY_BIT) else 0,
            operand,
        )
        for at, (code, true, false, operand) in enumerate(program)
    )
