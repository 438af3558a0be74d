"""What two states processes say while they compare their tables: the payloads of those frames.

Room: proto. Bytes only; the frames are cut by `statestream.py`. Refuses to know whose table is
right, and what becomes of what differs (`machine/walk.py`).

    WALK     number (4), mode (1)                  walk over your table, and compare it with mine
    CHECK    number (4), walk (4), first (1), last (1), zero (2), create requests
                                                   have you these?
    CHECKED  number (4), master (1), zero (3); for each that is not the same: place (2), verdict
             (1), zero (1)
    WALKED   walk (4), mode (1), failed (1), zero (2), four counts (4 each): entries, missing,
             different, extra
    TABLE    master (1), whole (1), zero (2), entries (4), the most that the kernel takes (4)

`walk` is the number of the WALK that asked for it; 0: nobody did. `place` counts the requests of
the CHECK from 0. All numbers are in network byte order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

_WALK = struct.Struct(">IB")
_CHECK = struct.Struct(">IIBB2s")
_CHECKED = struct.Struct(">IB3s")
_RESULT = struct.Struct(">HBB")
_WALKED = struct.Struct(">IBB2sIIII")
_TABLE = struct.Struct(">BB2sII")
_ZERO3, _ZERO2 = b"\0\0\0", b"\0\0"


class Mode(IntEnum):
    """What a walk is for."""

    LOOK = 0  # find and tell
    REPAIR = 1  # find, and mend what differs
    RESYNC = 2  # give the whole table first, then REPAIR


class Verdict(IntEnum):
    """What a node says of an entry that it does not have just so."""

    MISSING = 1  # no entry with this original tuple
    DIFFERENT = 2  # one with another translation


@dataclass(frozen=True, slots=True)
class Walk:
    number: int
    mode: Mode


@dataclass(frozen=True, slots=True)
class Check:
    number: int
    walk: int
    first: bool  # of its walk, which may have been begun anew: what was asked before is void
    last: bool  # asked a second time, after a while: what differs now, differs
    requests: bytes


@dataclass(frozen=True, slots=True)
class Checked:
    number: int
    master: bool  # whether the one who answers is MASTER
    results: tuple[tuple[int, Verdict], ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What a walk has found, in entries. `extra` had no original and were removed where they were;
    the two others were lacking or otherwise at the peer of the walk."""

    entries: int = 0
    missing: int = 0
    different: int = 0
    extra: int = 0

    def __add__(self, other: Found) -> Found:
        return Found(
            self.entries + other.entries,
            self.missing + other.missing,
            self.different + other.different,
            self.extra + other.extra,
        )


@dataclass(frozen=True, slots=True)
class Walked:
    walk: int
    mode: Mode
    failed: bool  # it ended early, and what it found is not all
    found: Found


@dataclass(frozen=True, slots=True)
class Table:
    """How a node's table is filled."""

    master: bool
    whole: bool  # it has taken a peer's table since its states process began
    entries: int
    entries_max: int


def build_walk(walk: Walk) -> bytes:
    return _WALK.pack(walk.number, walk.mode)


def parse_walk(payload: bytes) -> Walk | str:
    """The wish, or what is wrong."""
    if len(payload) != _WALK.size or payload[4] not in tuple(Mode):
        return f"no WALK: {payload[:8].hex()}"
    number, mode = _WALK.unpack(payload)
    return Walk(number, Mode(mode))


def build_check(check: Check) -> bytes:
    head = _CHECK.pack(check.number, check.walk, check.first, check.last, _ZERO2)
    return head + check.requests


def parse_check(payload: bytes) -> Check | str:
    """The requests are for `ctgate.py` to judge."""
    if len(payload) < _CHECK.size:
        return f"a CHECK of {len(payload)} bytes, expected {_CHECK.size} at least"
    number, walk, first, last, zero = _CHECK.unpack_from(payload)
    if first > 1 or last > 1 or zero != _ZERO2:
        return f"no CHECK starts with {payload[: _CHECK.size].hex()}"
    return Check(number, walk, bool(first), bool(last), payload[_CHECK.size :])


def build_checked(number: int, results: Iterable[tuple[int, Verdict]], *, master: bool) -> bytes:
    parts = [_CHECKED.pack(number, master, _ZERO3)]
    return b"".join(parts + [_RESULT.pack(place, verdict, 0) for place, verdict in results])


def parse_checked(payload: bytes) -> Checked | str:
    """Places may lie beyond the CHECK: only who asked knows how long that was."""
    if len(payload) < _CHECKED.size or (len(payload) - _CHECKED.size) % _RESULT.size:
        return f"a CHECKED of {len(payload)} bytes"
    number, master, zero = _CHECKED.unpack_from(payload)
    results = tuple(_RESULT.iter_unpack(payload[_CHECKED.size :]))
    if master > 1 or zero != _ZERO3 or any(v not in tuple(Verdict) or z for _, v, z in results):
        return "a CHECKED with values that mean nothing"
    return Checked(number, bool(master), tuple((place, Verdict(v)) for place, v, _ in results))


def build_walked(walked: Walked) -> bytes:
    found = walked.found
    counts = (found.entries, found.missing, found.different, found.extra)
    return _WALKED.pack(walked.walk, walked.mode, walked.failed, _ZERO2, *counts)


def parse_walked(payload: bytes) -> Walked | str:
    if len(payload) != _WALKED.size or payload[4] not in tuple(Mode) or payload[5] > 1:
        return f"no WALKED: {payload[:8].hex()}"
    walk, mode, failed, _zero, *counts = _WALKED.unpack(payload)
    return Walked(walk, Mode(mode), bool(failed), Found(*counts))


def build_table(table: Table) -> bytes:
    return _TABLE.pack(table.master, table.whole, _ZERO2, table.entries, table.entries_max)


def parse_table(payload: bytes) -> Table | str:
    if len(payload) != _TABLE.size or payload[0] > 1 or payload[1] > 1:
        return f"no TABLE: {payload[:8].hex()}"
    master, whole, _zero, entries, entries_max = _TABLE.unpack(payload)
    return Table(bool(master), bool(whole), entries, entries_max)
