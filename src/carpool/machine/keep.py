"""What a node keeps of a file as it has it, when another node's version of the file arrives.

Room: machine. Pure: bytes in, bytes out. Refuses to guess: where the markers of the two versions
do not match, nobody knows which lines are whose.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from carpool.errors import ConfigError
from carpool.model.keypath import quoted
from carpool.model.section import Keep

_LINE = re.compile(rb"[^\n]*\n|[^\n]+")
ARRIVED, MINE = "the file that arrives", "the file on this node"


class KeepError(ConfigError):
    """The markers of what is kept do not stand as they should."""


class _Region(NamedTuple):
    """Lines `first` up to but not with `after`, markers included; from 0."""

    first: int
    after: int
    keep: int  # index of the Keep that it is of


def kept_whole(path: str, keeps: Iterable[Keep]) -> bool:
    """Whether this node keeps all of the file, whatever arrives."""
    return any(keep.path == path and not keep.begin for keep in keeps)


def marked(path: str, keeps: Iterable[Keep]) -> tuple[Keep, ...]:
    """Those that keep some lines of this file."""
    return tuple(keep for keep in keeps if keep.path == path and keep.begin)


def merge(new: bytes, mine: bytes | None, keeps: Sequence[Keep]) -> bytes:
    """`new` with the lines from each begin marker to its end marker, both included, as `mine` has
    them; several regions of one marker are paired in their order. Without an end marker it is all
    up to the file's end. `mine` None: the first time here, `new` as it is.

    `keeps` are those that `marked` gives. Raises KeepError.
    """
    if mine is None or not keeps:
        return new
    theirs, ours = _LINE.findall(new), _LINE.findall(mine)
    places, own = list(_regions(theirs, keeps, ARRIVED)), list(_regions(ours, keeps, MINE))
    sources = [iter(_of(index, keep, places, own)) for index, keep in enumerate(keeps)]
    merged: list[bytes] = []
    done = 0
    for place in places:
        source = next(sources[place.keep])
        merged += [*theirs[done : place.first], *ours[source.first : source.after]]
        done = place.after
        if done < len(theirs) and not merged[-1].endswith(b"\n"):
            merged[-1] += b"\n"  # it was the last line there, and is not here
    return b"".join([*merged, *theirs[done:]])


def without(content: bytes, keeps: Sequence[Keep]) -> bytes:
    """What of a file is not this node's own: each region is one byte that stands in no text.

    `keeps` are those that `marked` gives. Raises KeepError.
    """
    return _instead(content, keeps, lambda _region: b"\0")


def blanked(content: bytes, keeps: Sequence[Keep]) -> bytes:
    """With empty lines instead: every other line keeps its number. Raises KeepError."""
    return _instead(content, keeps, lambda region: b"\n" * (region.after - region.first))


def _instead(content: bytes, keeps: Sequence[Keep], put: Callable[[_Region], bytes]) -> bytes:
    lines = _LINE.findall(content)
    rest: list[bytes] = []
    done = 0
    for region in _regions(lines, keeps, MINE):
        rest += [*lines[done : region.first], put(region)]
        done = region.after
    return b"".join([*rest, *lines[done:]])


def _of(index: int, keep: Keep, places: Sequence[_Region], own: Sequence[_Region]) -> list[_Region]:
    """The regions of one Keep in `own`, as many as in `places`."""
    there = sum(place.keep == index for place in places)
    here = [region for region in own if region.keep == index]
    if there == len(here) > 0:
        return here
    hint = "put the same markers around these lines in both, or take the marker out of `keep`"
    if there and here:
        raise KeepError(
            f"{keep.path}: {quoted(keep.begin)} begins {there} regions in {ARRIVED}, "
            f"{len(here)} in {MINE}",
            hint=hint,
        )
    where = MINE if there else ARRIVED if here else f"{ARRIVED}, nor in {MINE}"
    raise KeepError(f"{keep.path}: no line with {quoted(keep.begin)} in {where}", hint=hint)


def _regions(lines: Sequence[bytes], keeps: Sequence[Keep], where: str) -> Iterator[_Region]:
    """In the order of the file. `where` names the file for KeepError."""
    marks = [(keep.begin.encode(), keep.end.encode()) for keep in keeps]
    first, current = 0, -1  # of the open region; -1: none is
    for number, line in enumerate(lines):
        if current >= 0 and marks[current][1] and marks[current][1] in line:
            yield _Region(first, number + 1, current)
            current = -1
            continue
        begun = next((index for index, mark in enumerate(marks) if mark[0] in line), -1)
        if begun >= 0 and current >= 0:
            raise KeepError(
                f"{keeps[begun].path}: line {number + 1} of {where} begins what is kept "
                f"({quoted(keeps[begun].begin)}) within what began in line {first + 1} "
                f"({quoted(keeps[current].begin)})",
                hint=_expected_end(keeps[current]),
            )
        if begun >= 0:
            first, current = number, begun
    if current < 0:
        return
    if keeps[current].end:
        raise KeepError(
            f"{keeps[current].path}: what is kept from line {first + 1} of {where} on has no end",
            hint=_expected_end(keeps[current]),
        )
    yield _Region(first, len(lines), current)


def _expected_end(keep: Keep) -> str:
    if keep.end:
        return f"a line with {quoted(keep.end)} must end it"
    return "without an end marker it is kept up to the file's end: nothing can begin there"
