"""Where the tables, keys and values of a TOML text stand, to change one and leave the rest alone.

Room: api. Walks the syntax tree of tree-sitter; refuses to change anything (`tomledit.py`), and to
judge: the text must have been read by tomllib.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import tree_sitter_toml
from tree_sitter import Language, Node, Parser

from carpool.api.locate import KEYS, names_of, significant
from carpool.model.keypath import KeyPath


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes from `start` up to `end`, which begin in line `row` and end in line `last_row`."""

    start: int
    end: int
    row: int
    last_row: int

    @classmethod
    def of(cls, node: Node) -> Span:
        end_row = node.end_point.row
        return cls(node.start_byte, node.end_byte, node.start_point.row, end_row)


@dataclass(frozen=True, slots=True)
class Pair:
    """`key = value` with a line of its own."""

    path: KeyPath
    whole: Span
    value: Span


@dataclass(slots=True)
class Block:
    """A header and the pairs below it; `()` is what stands above all headers."""

    path: KeyPath
    header: Span | None
    pairs: list[Pair] = field(default_factory=list)

    @property
    def last_row(self) -> int:
        """Of the last pair, or the header; -1 at the top of a file."""
        if self.pairs:
            return self.pairs[-1].value.last_row
        return -1 if self.header is None else self.header.row


def blocks_of(source: bytes) -> list[Block]:
    """In the order of the text, the top first."""
    tree = Parser(Language(tree_sitter_toml.language())).parse(source)
    blocks = [Block((), None)]
    lengths: dict[KeyPath, int] = {}  # of the arrays of tables seen so far
    for child in tree.root_node.children:
        if child.type == "pair":
            blocks[0].pairs.append(_pair((), child))
        elif child.type in ("table", "table_array_element"):
            blocks.append(_block(child, lengths))
    return blocks


def _block(node: Node, lengths: dict[KeyPath, int]) -> Block:
    """Within an array of tables, names mean its last element."""
    key = next(child for child in node.children if child.type in KEYS)
    path: KeyPath = ()
    names = names_of(key)
    for position, name in enumerate(names):
        path = (*path, name)
        if node.type == "table_array_element" and position == len(names) - 1:
            lengths[path] = lengths.get(path, 0) + 1
        if path in lengths:
            path = (*path, lengths[path] - 1)
    block = Block(path, Span.of(key))
    block.pairs += [_pair(path, child) for child in node.children if child.type == "pair"]
    return block


def _pair(path: KeyPath, node: Node) -> Pair:
    key, *_, value = significant(node)
    return Pair((*path, *names_of(key)), Span.of(node), Span.of(value))
