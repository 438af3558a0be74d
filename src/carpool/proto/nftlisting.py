"""What `nft list ruleset` prints, read back: tables, what they hold, and the elements of sets.

Room: proto. The text is the one form in which nft tells all of a set's elements (milliseconds,
limits, comments) as it takes them again. Refuses to understand rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

SETS = ("set", "map")
OBJECT_DATA = (
    "counter",
    "quota",
    "limit",
    "ct",
    "synproxy",
    "secmark",
)  # of maps that name objects

_TABLE = re.compile(r"table (\w+) (\S+) \{(?: #.*)?")
_BLOCK = re.compile(r"\t(\w[\w ]*?) (\S+) \{(?: #.*)?")
_ELEMENTS = "\t\telements = {"
_ELEMENT = re.compile(r'(?:"[^"]*"|,(?!\s)|[^",])+')
_TOKEN = re.compile(r'(?:"[^"]*"|[^\s"])+')
# What may follow the key of an element: nftables/src/expression.c, set_elem_expr_print().
_AFTER_KEY = {"counter", "limit", "quota", "ct", "last", "timeout", "expires", "comment"}
_RUNNING = re.compile(r" expires \S+| packets \d+ bytes \d+| used \d+ \w+")

TableName = tuple[str, str]  # family, name
BlockName = tuple[str, str]  # kind (set, chain, ct helper...), name


@dataclass(frozen=True, slots=True)
class Element:
    """Of a set or map. `text` is all that nft says of it, as nft takes it again."""

    key: str
    data: str  # of a map
    text: str

    @property
    def definition(self) -> str:
        """`text` without what changes by itself."""
        return _RUNNING.sub("", self.text)

    @property
    def named(self) -> str:
        """As `delete element` wants it."""
        return f"{self.key} : {self.data}" if self.data else self.key


@dataclass(frozen=True, slots=True)
class Block:
    """A set, map, chain, flowtable or object of a table."""

    lines: tuple[str, ...]  # its declaration, without elements
    elements: Mapping[str, Element]  # by key

    @property
    def declaration(self) -> tuple[str, ...]:
        """`lines` without what counts on."""
        lines = (_RUNNING.sub("", " " + line).strip() for line in self.lines)
        return tuple(line for line in lines if line)

    @property
    def flags(self) -> frozenset[str]:
        found = (line.removeprefix("flags ") for line in self.lines if line.startswith("flags "))
        return frozenset(flag for line in found for flag in line.split(","))

    @property
    def type(self) -> str:
        """`ipv4_addr`, or `ipv4_addr : verdict`, or the expression that it has the type of."""
        lines = (line for line in self.lines if line.startswith(("type ", "typeof ")))
        return next(lines, "")

    def value(self, key: str) -> str:
        """What a line of the declaration says: `timeout` "1h"; "" without that line."""
        lines = (line.split(" ", 1) for line in self.lines if line.startswith(f"{key} "))
        return next((line[1] for line in lines), "")


Table = Mapping[BlockName, Block]
Ruleset = Mapping[TableName, Table]


def parse(listing: str) -> Ruleset:
    """Every table of `nft list ruleset`."""
    tables: dict[TableName, dict[BlockName, Block]] = {}
    table: dict[BlockName, Block] = {}
    name: BlockName | None = None
    lines: list[str] = []
    for line in listing.splitlines():
        if name is not None:
            if line == "\t}":
                table[name] = _block(name[0], lines)
                name, lines = None, []
            else:
                lines.append(line)
        elif found := _TABLE.fullmatch(line):
            table = tables.setdefault((found[1], found[2]), {})
        elif found := _BLOCK.fullmatch(line):
            name = (found[1], found[2])
    return tables


def _block(kind: str, lines: list[str]) -> Block:
    """Elements come last, and go on over many lines."""
    at = len(lines)
    if kind in SETS:
        at = next((i for i, line in enumerate(lines) if line.startswith(_ELEMENTS)), at)
    listed = "\n".join(lines[at:]).removeprefix(_ELEMENTS).rstrip().removesuffix("}")
    found = {element.key: element for element in _elements(_ELEMENT.findall(listed))}
    return Block(tuple(line.strip() for line in lines[:at]), found)


def _elements(texts: Iterable[str]) -> Iterator[Element]:
    for text in map(str.strip, texts):
        words = _TOKEN.findall(text)
        if not words:
            continue
        head = next((i for i, word in enumerate(words) if word in (*_AFTER_KEY, ":")), len(words))
        colon = words.index(":") + 1 if ":" in words else len(words)
        yield Element(" ".join(words[:head]), " ".join(words[colon:]), " ".join(words))
