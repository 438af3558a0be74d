"""A file of answers for `carpool setup`: TOML, each question by its key.

Room: api. Knows which keys there are and how they are written; refuses to judge what an answer
means (`machine/setup.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from carpool.api.settings import placed
from carpool.api.tomlfile import TomlFile, shown
from carpool.machine.proposals import spelled
from carpool.machine.setup import NO, YES
from carpool.model.config import Problem

TEXTS = ("role", "node", "group", "sync", "password", "peer", "peer_address", "address", "code")
TRUTHS = ("preempt", "states", "open", "overwrite", "drill")
NUMBERS = ("advskew", "wait_s")
TABLES = ("networks", "vip", "vhid")
KEYS = (*TEXTS, *TRUTHS, *NUMBERS, *TABLES)
OPTIONS = ("overwrite", "drill", "wait_s")  # asked for after the questions, or by nobody


class AnswersFile:
    """`answers` by key; what cannot be used is among the problems."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = TomlFile.read(path.parent, path.name)
        self.answers: dict[str, str] = {}
        self._file.root(KEYS)
        for key, value in self._file.content.items():
            if key in TABLES:
                self._table(key, value)
            elif key in KEYS:
                self._plain(key, value)

    def problems(self) -> list[Problem]:
        return placed(self._file.problems, [self._file])

    def wrong(self, key: str, found: str, expected: str) -> Problem:
        """The problem of one answer, with its line."""
        return placed([Problem(self._file.name, key, found, expected)], [self._file])[0]

    def _plain(self, key: str, value: object) -> None:
        if key in TRUTHS:
            good, expected = isinstance(value, bool), "true or false"
        elif key in NUMBERS:
            good, expected = type(value) is int, "a whole number"
        else:
            good, expected = _is_text(value), "a string, or a list of strings"
        if not good:
            self._file.wrong((key,), shown(value), expected)
        else:
            self.answers[key] = _text(value)

    def _table(self, key: str, value: object) -> None:
        if not isinstance(value, dict):
            self._file.wrong((key,), shown(value), f"a table [{key}] with a line for each network")
            return
        if key == "networks":
            if not all(isinstance(one, str) for one in value.values()):
                self._file.wrong((key,), shown(value), 'devices by name: lan = "eth0"')
            else:
                self.answers[key] = spelled(value)
            return
        for name, one in value.items():
            if _is_text(one) if key == "vip" else type(one) is int:
                self.answers[f"{key}.{name}"] = _text(one)
            else:
                self._file.wrong((key, name), shown(one), _EXPECTED[key])


_EXPECTED = {"vip": 'addresses with masks: ["10.10.1.1/24"]', "vhid": "a number from 1 to 255"}


def _is_text(value: object) -> bool:
    listed = isinstance(value, list) and all(isinstance(one, str) for one in value)
    return isinstance(value, str) or listed


def _text(value: object) -> str:
    if isinstance(value, bool):
        return YES if value else NO
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(map(str, value))
    return str(value)
