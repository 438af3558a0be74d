"""The line of a key in a TOML file.

Room: api. Walks the syntax tree of tree-sitter, because tomllib keeps no positions; refuses to
judge anything. Imported only when there is a problem to tell.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

import tree_sitter_toml
from tree_sitter import Language, Node, Parser

from carpool.model.keypath import KeyPath

KEYS = ("bare_key", "quoted_key", "dotted_key")


class Locator:
    """Where the keys of one TOML text stand. The text must have been read by tomllib."""

    def __init__(self, source: str) -> None:
        tree = Parser(Language(tree_sitter_toml.language())).parse(source.encode())
        self._lines: dict[KeyPath, int] = {}
        self._lengths: dict[KeyPath, int] = {}  # of the arrays of tables seen so far
        for child in tree.root_node.children:
            self._top(child)

    def line(self, path: KeyPath) -> int | None:
        """The 1-based line of the key, or of what is nearest around it; None at the top."""
        while path:
            if path in self._lines:
                return self._lines[path]
            path = path[:-1]
        return None

    def _top(self, node: Node) -> None:
        if node.type == "pair":
            self._pair((), node)
        elif node.type in ("table", "table_array_element"):
            self._table(node)

    def _table(self, node: Node) -> None:
        """`[a.b]` or `[[a.b]]`: within an array of tables, names mean its last element."""
        key = next(child for child in node.children if child.type in KEYS)
        path: KeyPath = ()
        names = names_of(key)
        for position, name in enumerate(names):
            path = (*path, name)
            self._see(path, node)
            is_element = node.type == "table_array_element" and position == len(names) - 1
            if is_element:
                self._lengths[path] = self._lengths.get(path, 0) + 1
            if path in self._lengths:
                path = (*path, self._lengths[path] - 1)
                self._see(path, node)
        for child in node.children:
            if child.type == "pair":
                self._pair(path, child)

    def _pair(self, path: KeyPath, node: Node) -> None:
        key, *_, value = significant(node)
        for name in names_of(key):
            path = (*path, name)
            self._see(path, node)
        self._value(path, value)

    def _value(self, path: KeyPath, node: Node) -> None:
        if node.type == "inline_table":
            for child in node.children:
                if child.type == "pair":
                    self._pair(path, child)
        elif node.type == "array":
            elements = (c for c in significant(node) if c.type not in ("[", "]", ","))
            for index, element in enumerate(elements):
                self._see((*path, index), element)
                self._value((*path, index), element)

    def _see(self, path: KeyPath, node: Node) -> None:
        self._lines.setdefault(path, node.start_point.row + 1)


def significant(node: Node) -> Iterator[Node]:
    """Its parts but for comments."""
    return (child for child in node.children if child.type != "comment")


def names_of(key: Node) -> list[str]:
    """The names of a key, dotted or quoted, as TOML reads them."""
    assert key.text is not None
    content: object = tomllib.loads(f"{key.text.decode()} = 0")
    names = []
    while isinstance(content, dict):
        ((name, content),) = content.items()
        names.append(name)
    return names
