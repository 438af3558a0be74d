"""An nft(8) script as text: the statements that clear what is loaded, and the files it includes.

Room: proto. Finds, so that others can put something else in their places; refuses to know what a
rule means. What nft makes of the rest of the script is nft's own affair.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

FAMILIES = ("ip", "ip6", "inet", "arp", "bridge", "netdev")
DEFAULT_FAMILY = "ip"  # nft(8), ADDRESS FAMILIES

# A comment, a string, a line that goes on, what ends a statement or opens a block, a word.
_TOKEN = re.compile(r'#[^\n]*|"[^"\n]*"|\\\n|[{};\n]|[^\s{};#"\\]+|\S')
_ENDS = (";", "\n", "{", "}")


@dataclass(frozen=True, slots=True)
class Clear:
    """`flush ruleset [family]`, or `delete table` and `destroy table`. None stands for all."""

    start: int
    end: int  # of the text, the first character after it
    family: str | None
    table: str | None


@dataclass(frozen=True, slots=True)
class Include:
    start: int
    end: int
    pattern: str  # as it is written


@dataclass(frozen=True, slots=True)
class Clearing:
    """What is done to one table in place of what the script would do to clear it."""

    statements: str  # in place of those of the script
    leaves: bool  # something is left: the table itself is not deleted
    after: tuple[str, ...]  # statements behind the script
    told: tuple[str, ...]  # sentences for the operator


@dataclass(frozen=True, slots=True)
class _Word:
    start: int
    end: int
    text: str


def statements(text: str) -> Iterator[Clear | Include]:
    """In the order of the script. Clearing ones only where they are statements of their own, not
    within a block; includes also there."""
    depth = 0
    words: list[_Word] = []
    for found in _TOKEN.finditer(text):
        piece = found[0]
        if piece in _ENDS:
            statement = None if piece == "{" else _statement(words, depth)
            if statement is not None:
                yield statement
            words = []
            depth = max(0, depth + {"{": 1, "}": -1}.get(piece, 0))
        elif not piece.startswith(("#", "\\")):
            words.append(_Word(found.start(), found.end(), piece))
    last = _statement(words, depth)
    if last is not None:
        yield last


def replaced(text: str, by: Callable[[Clear | Include], str | None]) -> str:
    """The script with other text in place of these statements, on the same lines as before; None
    leaves one as it is."""
    parts, at = [], 0
    for one in statements(text):
        new = by(one)
        if new is not None:
            lines = text.count("\n", one.start, one.end)  # of a statement that went on
            parts += [text[at : one.start], new, "\\\n" * lines]
            at = one.end
    return "".join((*parts, text[at:]))


def _statement(words: list[_Word], depth: int) -> Clear | Include | None:
    if not words:
        return None
    start, end = words[0].start, words[-1].end
    match [word.text for word in words]:
        case ["include", quoted] if quoted.startswith('"'):
            return Include(start, end, quoted.strip('"'))
        case ["flush", "ruleset"] if depth == 0:
            return Clear(start, end, None, None)
        case ["flush", "ruleset", family] if depth == 0 and family in FAMILIES:
            return Clear(start, end, family, None)
        case ["delete" | "destroy", "table", name] if depth == 0:
            return Clear(start, end, DEFAULT_FAMILY, name)
        case ["delete" | "destroy", "table", family, name] if depth == 0 and family in FAMILIES:
            return Clear(start, end, family, name)
    return None
