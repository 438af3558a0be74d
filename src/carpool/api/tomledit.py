"""A TOML text with one key set or removed, and everything else of it as it was, byte for byte.

Room: api. Pure. Comments, order, blank lines and spellings are the operator's. tomllib alone says
what a text means: a change after which it means anything else than what was asked for is refused.
Refuses to know any key.
"""

from __future__ import annotations

import copy
import math
import re
import tomllib
from collections.abc import Mapping, Sequence

from carpool.api.tomlspans import Block, Pair, blocks_of
from carpool.errors import ConfigError
from carpool.model.keypath import KeyPath
from carpool.model.keypath import render as named

DEPTH_MAX = 8  # of values within values
WIDTH_MAX = 96  # of a list in one line
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_PLAIN = re.compile(r"[^\"\\\x00-\x1f\x7f]*")  # needs no escape between double quotes
_BY_HAND = "edit the file by hand: `carpool check`, then `carpool apply`"


def set_value(text: str, path: KeyPath, value: object) -> str:
    """`value`: as JSON has it, null excepted; a table replaces what is there whole. Raises
    ConfigError."""
    wanted = _with(content_of(text), path, value)
    return _certain(_set(text, path, value), wanted, path)


def remove_value(text: str, path: KeyPath) -> str:
    """A key, a table with all below it, or an element of an array. Nothing, where there is none."""
    content = content_of(text)
    if find(content, path) is None:
        return text
    return _certain(_remove(text, path), _without(content, path), path)


def add_table(text: str, path: KeyPath, values: Mapping[str, object]) -> str:
    """One more `[[path]]`, after the last one that there is."""
    content = content_of(text)
    there = find(content, path)
    if there is not None and not isinstance(there, list):
        raise ConfigError(f"{named(path)} is no list of tables", hint=_BY_HAND)
    wanted = _with(content, path, [*(there or []), dict(values)])
    blocks = blocks_of(text.encode())
    same = [one for one in blocks if one.path[:-1] == path and isinstance(one.path[-1], int)]
    if there and not same:
        return _certain(_set(text, path, [*there, dict(values)]), wanted, path)
    block = [
        f"[[{_dotted(path)}]]",
        *(f"{_key(key)} = {render(one)}" for key, one in values.items()),
    ]
    last = max(
        (one.last_row for one in blocks if same and one.path[: len(path)] == path), default=None
    )
    return _certain(_inserted(text, last, ["", *block]), wanted, path)


def content_of(text: str) -> dict[str, object]:
    """What it means. Raises ConfigError."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"group.toml is no TOML as it is: {error}", hint="mend it first: `carpool check`"
        ) from error


def find(content: object, path: KeyPath) -> object | None:
    """The value there, or None."""
    for part in path:
        if isinstance(content, dict) and isinstance(part, str):
            content = content.get(part)
        elif isinstance(content, list) and isinstance(part, int) and 0 <= part < len(content):
            content = content[part]
        else:
            return None
    return content


def render(value: object, depth: int = 0) -> str:
    """A value as TOML in one line, or a long list in several. Raises ConfigError."""
    if depth > DEPTH_MAX:
        raise ConfigError(f"values within values, more than {DEPTH_MAX} deep")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if abs(value) >= 2**63:
            raise ConfigError("a number of more than 63 bits")
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Mapping):
        pairs = (f"{_key(str(key))} = {render(one, depth + 1)}" for key, one in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, Sequence):
        parts = [render(one, depth + 1) for one in value]
        line = f"[{', '.join(parts)}]"
        if len(line) <= WIDTH_MAX or depth:
            return line
        return "[\n" + "".join(f"    {part},\n" for part in parts) + "]"
    raise ConfigError(f"{type(value).__name__} is no value of group.toml")


def _string(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError("a text with half a character (a lone surrogate)") from None
    if _PLAIN.fullmatch(text):
        return f'"{text}"'
    if "'" not in text and "\n" not in text and text.isprintable():
        return f"'{text}'"  # without escapes, a diff can hide a password
    return _escaped_string(text)


def _escaped_string(text: str) -> str:
    return "".join(['"', *map(_escaped, text), '"'])


def _escaped(letter: str) -> str:
    known = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    if letter in known:
        return known[letter]
    return f"\\u{ord(letter):04x}" if ord(letter) < 0x20 or ord(letter) == 0x7F else letter


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _escaped_string(name)


def _dotted(path: KeyPath) -> str:
    """As a header names it: of an array, the last element is meant."""
    return ".".join(_key(part) for part in path if isinstance(part, str))


# ------------------------------------------------------------------------------- what is wanted


def _with(content: dict[str, object], path: KeyPath, value: object) -> dict[str, object]:
    """Raises ConfigError when there is no such place."""
    if not path or not isinstance(path[0], str):
        raise ConfigError("no key is named")
    made = copy.deepcopy(content)
    here: object = made
    for part in path[:-1]:
        here = here.setdefault(part, {}) if isinstance(here, dict) else find(here, (part,))
    last = path[-1]
    if isinstance(here, dict) and isinstance(last, str):
        here[last] = copy.deepcopy(value)
    elif isinstance(here, list) and isinstance(last, int) and 0 <= last < len(here):
        here[last] = copy.deepcopy(value)
    else:
        raise ConfigError(f"there is no place for {named(path)} in group.toml", hint=_BY_HAND)
    return made


def _without(content: dict[str, object], path: KeyPath) -> dict[str, object]:
    made = copy.deepcopy(content)
    here = find(made, path[:-1])
    if isinstance(here, dict | list):
        del here[path[-1]]  # type: ignore[arg-type]
    return made


def _certain(text: str, wanted: dict[str, object], path: KeyPath) -> str:
    found = content_of(text)
    if _pruned(found) != _pruned(wanted):
        raise ConfigError(
            f"{named(path)}: group.toml is written in a way that a program cannot change here",
            hint=_BY_HAND,
        )
    return text


def _pruned(value: object) -> object:
    """Without lists and tables that are empty: the last element of an array takes it along."""
    if isinstance(value, dict):
        kept = {key: _pruned(one) for key, one in value.items()}
        return {key: one for key, one in kept.items() if one not in ([], {})}
    return [_pruned(one) for one in value] if isinstance(value, list) else value


# ---------------------------------------------------------------------------------- the text


def _set(text: str, path: KeyPath, value: object) -> str:
    blocks = blocks_of(text.encode())
    pair = next((one for each in blocks for one in each.pairs if one.path == path), None)
    if pair is not None:
        return _spliced(text, pair.value.start, pair.value.end, render(value))
    around = _pair_around(blocks, path)
    if around is not None:  # within a value: that is written anew
        whole = _with(content_of(text), path, value)
        return _set(text, around.path, find(whole, around.path))
    if any(one.path[: len(path)] == path for one in blocks if one.header is not None) or any(
        one.path[: len(path)] == path for each in blocks for one in each.pairs
    ):
        text = _remove(text, path)
        blocks = blocks_of(text.encode())
    if isinstance(value, Mapping) and value:
        for key, one in value.items():
            text = _set(text, (*path, key), one)
        return text
    return _placed(text, blocks, path, value)


def _placed(text: str, blocks: Sequence[Block], path: KeyPath, value: object) -> str:
    """A key that is not there yet, among those of its table."""
    parent = path[:-1]
    homes = [one for one in blocks if one.path == parent]
    if homes:
        block = homes[0]
        lines = f"{_key(str(path[-1]))} = {render(value)}".split("\n")
        return _inserted(text, block.last_row, [_indent(text, block) + lines[0], *lines[1:]])
    for block in blocks:  # `sync.port = 1`
        near = [one for one in block.pairs if one.path[: len(parent)] == parent]
        if near and len(block.path) < len(parent):
            name = _dotted(path[len(block.path) :])
            return _inserted(text, near[-1].value.last_row, [f"{name} = {render(value)}"])
    lines = ["", f"[{_dotted(parent)}]", f"{_key(str(path[-1]))} = {render(value)}"]
    return _inserted(text, None, lines)


def _remove(text: str, path: KeyPath) -> str:
    blocks = blocks_of(text.encode())
    around = _pair_around(blocks, path)
    if around is not None:
        whole = _without(content_of(text), path)
        return _set(text, around.path, find(whole, around.path))
    rows: set[int] = set()
    lines = text.split("\n")
    for block in blocks:
        if block.header is not None and block.path[: len(path)] == path:
            rows |= _rows_of_block(lines, block)
            continue
        for pair in block.pairs:
            if pair.path[: len(path)] == path:
                rows |= {*range(pair.whole.row, pair.value.last_row + 1)}
    return "\n".join(line for row, line in enumerate(lines) if row not in rows)


def _rows_of_block(lines: Sequence[str], block: Block) -> set[int]:
    """With the comment right above its header, and the blank lines between it and what follows."""
    assert block.header is not None
    first, last = block.header.row, block.last_row
    while first > 0 and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    while last + 1 < len(lines) - 1 and not lines[last + 1].strip():
        last += 1
    if last + 1 >= len(lines) - 1:  # nothing follows: the blank lines before it go
        while first > 0 and not lines[first - 1].strip():
            first -= 1
    return {*range(first, last + 1)}


def _pair_around(blocks: Sequence[Block], path: KeyPath) -> Pair | None:
    """The pair within whose value that is."""
    pairs = (one for each in blocks for one in each.pairs)
    return next(
        (one for one in pairs if len(one.path) < len(path) and path[: len(one.path)] == one.path),
        None,
    )


def _indent(text: str, block: Block) -> str:
    if not block.pairs:
        return ""
    line = text.split("\n")[block.pairs[-1].whole.row]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _spliced(text: str, start: int, end: int, fresh: str) -> str:
    data = text.encode()
    return (data[:start] + fresh.replace("\n", _newline(text)).encode() + data[end:]).decode()


def _inserted(text: str, after: int | None, fresh: Sequence[str]) -> str:
    """Lines after that one; at the end for None."""
    newline = _newline(text)
    if after is None:
        if text and not text.endswith("\n"):
            text += newline
        lead = fresh if text.strip() else fresh[1:]
        return text + "".join(line + newline for line in lead)
    lines = text.split("\n")
    end = "\r" if newline == "\r\n" else ""
    if after + 1 == len(lines):  # the last line has no end
        lines[-1] += end
        return "\n".join([*lines, *(line + end for line in fresh)]) + "\n"
    return "\n".join([*lines[: after + 1], *(line + end for line in fresh), *lines[after + 1 :]])


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
