"""A diff as the pages show it: sections, files, lines, each with what becomes of it in words.

Room: web. Pure: POST /v1/diff and GET /v1/history/REVISION of the agent in; bounded, for a page of
megabytes helps nobody on a phone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from carpool.api.clean import clean
from carpool.api.render import Fields, entries_of, fields_of, text_of, waits_there, words_of

LINES_MAX = 400  # of one file
FILES_MAX = 100  # of one section
ALL_LINES_MAX = 3000  # of one page
LINE_MAX = 500  # letters
DEEDS = {"added": "good", "removed": "bad", "changed": "warn", "attributes": "warn"}
KINDS = {"+": "add", "-": "del", "@": "place"}  # of a line, by its first letter


@dataclass(frozen=True, slots=True)
class Line:
    kind: str  # "" for what stays
    text: str


@dataclass(frozen=True, slots=True)
class File:
    path: str
    deed: str
    tone: str
    attributes: str
    hidden: str  # why no line is shown; "" if they are
    lines: Sequence[Line]
    more: int  # lines that are not shown


@dataclass(frozen=True, slots=True)
class Section:
    name: str
    files: Sequence[File]
    more: int  # files that are not shown
    then: Sequence[str]  # what else it would do


@dataclass(frozen=True, slots=True)
class PeerDiff:
    name: str
    error: str
    hint: str
    waiting: str
    warnings: Sequence[str]
    same: int  # sections in which nothing would change
    sections: Sequence[Section]

    @property
    def services(self) -> int:
        return sum(len(one.then) for one in self.sections)


class Room:
    """How many lines the page still takes."""

    def __init__(self, left: int = ALL_LINES_MAX) -> None:
        self.left = left

    def take(self, wanted: int) -> int:
        given = min(wanted, LINES_MAX, self.left)
        self.left -= given
        return given


def peers_of(answer: Fields) -> list[PeerDiff]:
    """By peer."""
    peers, room = fields_of(answer, "peers"), Room()
    return [_peer(clean(str(name)), fields_of(peers, name), room) for name in peers]


def _peer(name: str, answer: Fields, room: Room) -> PeerDiff:
    sections = entries_of(answer, "sections")
    changed = [one for one in sections if entries_of(one, "files")]
    waiting = answer.get("waiting")
    return PeerDiff(
        name,
        str(answer.get("error") or "").removeprefix(f"{name}: "),
        str(answer.get("hint") or ""),
        waits_there(waiting) if isinstance(waiting, dict) else "",
        words_of(answer, "warnings")[:100],
        len(sections) - len(changed),
        sections_of(changed, room),
    )


def sections_of(sections: Iterable[Fields], room: Room | None = None) -> list[Section]:
    room = room or Room()
    return [_section(one, room) for one in sections]


def _section(section: Fields, room: Room) -> Section:
    files = entries_of(section, "files")
    checks = [f"would check: {one}" for one in words_of(section, "checks")]
    services = [f"would {one}" for one in words_of(section, "services")]
    return Section(
        text_of(section, "name"),
        [_file(one, room) for one in files[:FILES_MAX]],
        max(0, len(files) - FILES_MAX),
        [*checks, *services][:FILES_MAX],
    )


def _file(file: Fields, room: Room) -> File:
    deed, hidden = text_of(file, "deed"), ""
    if file.get("binary"):
        hidden = "binary: not shown"
    text = file.get("text")
    rows = text.split("\n") if isinstance(text, str) else []
    rows = rows[:-1] if rows and not rows[-1] else rows
    if file.get("secret") and not any(row[:1] in KINDS for row in rows):
        hidden = "secret: not shown"
    shown = [] if hidden else [*_lines(rows)]
    given = room.take(len(shown))
    return File(
        text_of(file, "path"),
        deed,
        DEEDS.get(deed, "calm"),
        text_of(file, "attributes"),
        hidden,
        shown[:given],
        len(shown) - given,
    )


def _lines(rows: Iterable[str]) -> Iterator[Line]:
    """Without the names of both files, which stand above them."""
    for row in rows:
        if row[:4] in ("--- ", "+++ "):
            continue
        text = clean(row[:LINE_MAX].replace("\t", "    "))
        yield Line(KINDS.get(row[:1], ""), text + ("..." if len(row) > LINE_MAX else ""))
