"""What a node had of its peers' connections when its role changed, as one line of the events.

Room: machine. Pure: figures in, words out. The pages look for these lines by how they begin; who
became MASTER why is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

KIND = "states"  # of the event
BECAME, CEASED = "MASTER with ", "no longer MASTER: "
ERROR_MAX = 100
LINE_MAX = 1000


@dataclass(frozen=True, slots=True)
class Stream:
    """With one peer. Seconds are before the change; None: it never was."""

    peer: str
    up: bool
    since_s: float  # it is up, or is not
    heard_s: float | None  # its last word
    whole_s: float | None  # its last whole table was here
    taking: bool  # a table that is on its way
    queued_bytes: int  # for the peer
    lag_ms: float | None  # 99 of 100 were in its kernel sooner, in the last minute or two
    error: str  # why there is none


def became(entries: int, streams: Iterable[Stream]) -> str:
    """For who is MASTER from now on: how much of the others' connections is in its own kernel."""
    return _line(f"{BECAME}{entries} entries", map(_had, streams))


def ceased(streams: Iterable[Stream]) -> str:
    """For who is MASTER no more: what was still to go to the others."""
    said = _line("", map(_owed, streams)).removeprefix(": ")
    return f"{CEASED}{said or 'it has no peers'}"


def _had(one: Stream) -> str:
    if one.whole_s is None:
        if one.taking:
            return f"of {one.peer} only the part of its table that had come"
        if one.up:
            return f"nothing of {one.peer} yet, whose table had not come"
        return f"nothing of {one.peer}, {_without(one)}"
    heard = "" if one.heard_s is None else f" until {span(one.heard_s)} before"
    table = f"all of {one.peer}{heard} (whole table {span(one.whole_s)} before)"
    return table if one.up else f"{table}, then {_without(one)}"


def _owed(one: Stream) -> str:
    if not one.up:
        return f"{one.peer} was told nothing, {_without(one)}"
    lag = "not measured lately" if one.lag_ms is None else f"{span(one.lag_ms / 1000)} (p99)"
    return f"{one.queued_bytes} bytes were still to go to {one.peer}, lag {lag}"


def _without(one: Stream) -> str:
    why = "".join(c if c.isprintable() else "?" for c in one.error[:ERROR_MAX])
    return f"no stream for {span(one.since_s)}{f' ({why})' if why else ''}"


def _line(head: str, parts: Iterable[str]) -> str:
    return ": ".join((head, "; ".join(parts))).removesuffix(": ")[:LINE_MAX]


def span(seconds: float) -> str:
    """As people say it."""
    if seconds < 0.001:
        return "less than 1 ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.2f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
