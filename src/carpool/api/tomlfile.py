"""A TOML file of an operator, read so that every mistake is told and none stops the reading.

Room: api. Knows files, TOML and types; refuses to know any key. A value that cannot be used is told
as a `Problem` and remembered as `lost`; the caller gets a stand-in and goes on.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from carpool.model.config import Problem
from carpool.model.finding import Place, closest
from carpool.model.keypath import KeyPath, quoted, render

FILE_MAX_BYTES = 512 * 1024  # some thousand VIPs
SHOWN_MAX = 60  # characters of a value in a message
_NUMBER_MAX = 2**63 - 1  # what TOML asks of every reader

_Choice = TypeVar("_Choice", bound=StrEnum)
OTHER_NAMES = {"run-on": "role", "run_on": "role"}  # of keys, that people bring along


@dataclass(slots=True)
class TomlFile:
    """One file: what it says, and what could not be read of it."""

    name: str
    homes: Mapping[str, str] = field(default_factory=dict)  # key -> where it belongs, if not here
    source: str = ""
    content: dict[str, object] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    lost: set[Place] = field(default_factory=set)

    @classmethod
    def read(cls, directory: Path, name: str, homes: Mapping[str, str] | None = None) -> TomlFile:
        """Read `directory/name`. Never raises for what is there: problems are in the answer."""
        file = cls(name, homes or {})
        data = file._bytes(directory / name)
        text = None if data is None else file._text(data)
        if text is not None:
            file._parse(text)
        return file

    @classmethod
    def of(cls, text: str, name: str, homes: Mapping[str, str] | None = None) -> TomlFile:
        """The same, of a text that was read before."""
        file = cls(name, homes or {})
        file._parse(text)
        return file

    @property
    def broken(self) -> bool:
        """Nothing of this file can be used."""
        return (self.name, ()) in self.lost

    def root(self, known: Sequence[str]) -> Table:
        return Table(self, (), self.content, known)

    def wrong(self, path: KeyPath, found: str, expected: str, hint: str = "") -> None:
        """The value at `path` cannot be used; what stands in for it must not be judged."""
        self.problems.append(Problem(self.name, render(path), found, expected, hint))
        self.lost.add((self.name, path))

    def unknown(self, path: KeyPath, known: Sequence[str]) -> None:
        """A key that this table does not have; the file is read as if it were not there."""
        key = str(path[-1])
        home = f"`{key}` belongs to {self.homes[key]}" if key in self.homes else ""
        expected = f"one of {', '.join(known)}" if len(known) > 1 else known[0]
        name = OTHER_NAMES.get(key)
        called = f"it is called {name}" if name in known else ""
        hint = home or called or closest(key, known)
        self.problems.append(Problem(self.name, render(path), "an unknown key", expected, hint))

    def _bytes(self, path: Path) -> bytes | None:
        try:
            if path.exists() and not path.is_file():  # opening a named pipe would wait for a writer
                self._broken(f"{path}, which is no file", "a file")
                return None
            with path.open("rb") as stream:
                data = stream.read(FILE_MAX_BYTES + 1)
        except FileNotFoundError:
            hint = f"{self.name}(5) shows one; --config-dir says where it is"
            self._broken("no file", str(path), hint)
            return None
        except OSError as error:
            found = f"{path}, which cannot be read: {error.strerror}"
            self._broken(
                found, "a file that can be read", "run as root, or mend its owner and mode"
            )
            return None
        if len(data) > FILE_MAX_BYTES:
            self._broken(f"more than {FILE_MAX_BYTES} bytes", f"{FILE_MAX_BYTES} bytes at most")
            return None
        return data

    def _text(self, data: bytes) -> str | None:
        try:
            return data.decode("utf-8-sig")  # some editors begin a file with a byte order mark
        except UnicodeDecodeError as error:
            found = f"byte 0x{data[error.start]:02x}, which is no UTF-8"
            line = data.count(b"\n", 0, error.start) + 1
            self._broken(found, "UTF-8 text", "save the file as UTF-8", line)
            return None

    def _parse(self, text: str) -> None:
        self.source = text
        try:
            self.content = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            message, line = _syntax_error(str(error), self.source)
            hint = "strings stand in quotes, and no key or table twice"
            self._broken(f"no TOML: {message}", "TOML", hint, line, key="syntax")
        except ValueError:  # int() bounds its own work
            self._broken("a number of thousands of digits", "TOML", key="syntax")
        except RecursionError:
            self._broken("values nested too deeply", "TOML", key="syntax")

    def _broken(
        self, found: str, expected: str, hint: str = "", line: int | None = None, key: str = "file"
    ) -> None:
        self.problems.append(Problem(self.name, key, found, expected, hint, line))
        self.lost.add((self.name, ()))


def _syntax_error(message: str, source: str) -> tuple[str, int]:
    """tomllib's words, and the line they are about (which Python 3.11 tells in the words only)."""
    place = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
    if place is not None and place[1]:
        return message[: place.start()], int(place[1])
    last_line = source.rstrip("\n").count("\n") + 1
    return message[: place.start()] if place else message, last_line


class Table:
    """A table of a file: what is missing or of a wrong type is told to the file when asked for.

    Unknown keys are told at once. A broken file's table is empty, and nothing is said about it.
    """

    def __init__(
        self, file: TomlFile, path: KeyPath, values: Mapping[str, object], known: Sequence[str]
    ) -> None:
        self.file = file
        self.path = path
        self._values = values
        for key in values:
            if key not in known:
                file.unknown((*path, key), known)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def text(self, key: str, expected: str, *, secret: bool = False) -> str:
        """A required string; a secret one is never shown."""
        value = self._required(key, expected)
        if isinstance(value, str):
            return value
        if value is not None:
            hint = "write it in quotes" if isinstance(value, int | float) else ""
            self.wrong(key, kind(value) if secret else shown(value), expected, hint)
        return ""

    def number(self, key: str, default: int | None = None) -> int:
        """A whole number; required when there is no default."""
        if default is not None and key not in self._values:
            return default
        value = self._required(key, "a whole number")
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _NUMBER_MAX:
            return value
        if value is not None:
            hint = "write it without quotes" if isinstance(value, str) else ""
            self.wrong(key, shown(value), "a whole number", hint)
        return 0 if default is None else default

    def truth(self, key: str, default: bool) -> bool:
        value = self._values.get(key, default)
        if isinstance(value, bool):
            return value
        hint = "write it without quotes" if value in ("true", "false") else ""
        self.wrong(key, shown(value), "true or false", hint)
        return default

    def choice(self, key: str, default: _Choice) -> _Choice:
        """One of the words of an enumeration."""
        value = self._values.get(key, default)
        words = [str(member) for member in type(default)]
        if isinstance(value, str) and value in words:
            return type(default)(value)
        hint = closest(value, words) if isinstance(value, str) else ""
        self.wrong(key, shown(value), " or ".join(quoted(word) for word in words), hint)
        return default

    def names(self, key: str, expected: str, *, required: bool = False) -> dict[str, object]:
        """A table whose keys are names of the operator's own choice."""
        value = self._required(key, expected) if required else self._values.get(key, {})
        if isinstance(value, dict):
            return value
        if value is not None:
            self.wrong(key, shown(value), expected)
        return {}

    def entries(self, key: str, expected: str, hint: str = "") -> list[object]:
        """A required list."""
        value = self._required(key, expected)
        if isinstance(value, list):
            return value
        if value is not None:
            self.wrong(key, shown(value), expected, hint)
        return []

    def wrong(self, key: str, found: str, expected: str, hint: str = "") -> None:
        self.file.wrong((*self.path, key), found, expected, hint)

    def is_lost(self, *path: str | int) -> bool:
        """Whether what is at `path` below this table could not be used."""
        return (self.file.name, (*self.path, *path)) in self.file.lost

    def _required(self, key: str, expected: str) -> object | None:
        if key not in self._values and not self.file.broken:
            self.wrong(key, "nothing", expected)
        return self._values.get(key)


def kind(value: object) -> str:
    """What TOML calls a value of this type, with its article."""
    kinds = {
        bool: "a boolean",
        int: "a whole number",
        float: "a decimal number",
        str: "a string",
        list: "a list",
        dict: "a table",
    }
    return kinds.get(type(value), "a date or time")


def shown(value: object) -> str:
    """A value for "found ...": its kind, and itself when it is short."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) > _NUMBER_MAX:
        return "a number of more than 63 bits"
    if isinstance(value, int | float):
        return f"{kind(value)}, {value}"
    if isinstance(value, str):
        return f"the string {quoted(cut(value))}"
    return kind(value)


def cut(text: str) -> str:
    return text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 3] + "..."
