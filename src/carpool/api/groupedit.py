"""Edits of group.toml that programs ask for: single keys, and whole VIPs.

Room: api. Pure: a text and edits in, the new text out (`tomledit.py`). An edit is made for one
text, known by its digest, and refused for any other. Refuses to judge the result: api/settings.py
does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from carpool.api.tomledit import add_table, content_of, find, remove_value, set_value
from carpool.errors import ConfigError
from carpool.model.keypath import KeyPath, quoted

VIP = "vip"


@dataclass(frozen=True, slots=True)
class SetKey:
    path: KeyPath
    value: object


@dataclass(frozen=True, slots=True)
class RemoveKey:
    path: KeyPath


@dataclass(frozen=True, slots=True)
class AddVip:
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ChangeVip:
    """`vip` as `51@lan`; a value None removes its key, and keys that are not named stay."""

    vip: str
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class RemoveVip:
    vip: str


Edit = SetKey | RemoveKey | AddVip | ChangeVip | RemoveVip


class Edited(ConfigError):
    """Somebody changed the text meanwhile."""

    def __init__(self) -> None:
        super().__init__(
            "group.toml was changed since this page was loaded: nothing was done",
            hint="load the page again, and look at what it says now",
        )


def digest_of(text: str) -> str:
    """As failover and peers know a group.toml."""
    return hashlib.sha256(text.encode()).hexdigest()


def edited(text: str, edits: Iterable[Edit], digest: str) -> str:
    """Raises ConfigError; Edited when that is the digest of another text."""
    if digest_of(text) != digest:
        raise Edited
    for edit in edits:
        text = _one(text, edit)
    return text


def _one(text: str, edit: Edit) -> str:
    match edit:
        case SetKey(path, value):
            return set_value(text, path, value)
        case RemoveKey(path):
            return remove_value(text, path)
        case AddVip(values):
            return add_table(text, (VIP,), values)
        case RemoveVip(vip):
            return remove_value(text, (VIP, _index(text, vip)))
        case ChangeVip(vip, values):
            index = _index(text, vip)
            for key, value in values.items():
                path = (VIP, index, key)
                text = remove_value(text, path) if value is None else set_value(text, path, value)
            return text


def _index(text: str, vip: str) -> int:
    """Raises ConfigError unless there is exactly one."""
    found = find(content_of(text), (VIP,))
    entries = found if isinstance(found, list) else []
    keys = [_key(one) for one in entries]
    if keys.count(vip) == 1:
        return keys.index(vip)
    if vip in keys:
        raise ConfigError(f"{quoted(vip[:80])} is there {keys.count(vip)} times in group.toml")
    raise ConfigError(f"there is no VIP {quoted(vip[:80])} in group.toml")


def _key(entry: object) -> str:
    return f"{entry.get('vhid')}@{entry.get('interface')}" if isinstance(entry, dict) else ""
