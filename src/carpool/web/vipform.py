"""The form of a virtual IP: what is in its fields, as edits of group.toml, and what is wrong there.

Room: web. Pure. Refuses to judge: the agent says what is wrong with the whole file, by the key, and
here it is found which field that is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from carpool.api.render import Fields, text_of
from carpool.model.config import MacMode, Transport
from carpool.model.keypath import parse

FIELDS = ("interface", "vhid", "addresses", "password", "advbase", "mac", "transport")
DEFAULTS = {"advbase": "1", "mac": str(MacMode.VIRTUAL), "transport": str(Transport.MULTICAST)}
CHOICES = {"mac": tuple(map(str, MacMode)), "transport": tuple(map(str, Transport))}
TEXT_MAX = 4096  # letters in a field


@dataclass(frozen=True, slots=True)
class Entry:
    """A `[[vip]]` as group.toml has it; `index` is its place there."""

    index: int
    values: Mapping[str, object]

    @property
    def key(self) -> str:
        return f"{self.values.get('vhid')}@{self.values.get('interface')}"


def entries(values: object) -> list[Entry]:
    """Of `values` in GET /v1/group."""
    found = values.get("vip") if isinstance(values, Mapping) else None
    rows = found if isinstance(found, list) else []
    return [Entry(index, one) for index, one in enumerate(rows) if isinstance(one, Mapping)]


def filled(entry: Entry | None) -> dict[str, str]:
    """The fields of the form; that of the password is always empty."""
    if entry is None:
        return {**dict.fromkeys(FIELDS, ""), **DEFAULTS}
    found = {}
    for name in FIELDS:
        value = entry.values.get(name, DEFAULTS.get(name, ""))
        found[name] = "\n".join(map(str, value)) if isinstance(value, list) else str(value)
    return {**found, "password": ""}


def given(form: Mapping[str, str]) -> dict[str, str]:
    """What somebody filled in."""
    found = {name: form.get(name, "")[:TEXT_MAX] for name in FIELDS}
    return {name: text if name == "password" else text.strip() for name, text in found.items()}


def values_of(fields: Mapping[str, str], entry: Entry | None) -> dict[str, object]:
    """Of a new VIP all; of one that is there those that differ. None removes a key: what is so
    without one is not written, unless it was before."""
    before = filled(entry)
    found: dict[str, object] = {}
    for name in FIELDS:
        text = fields[name]
        if name == "password":
            if text or entry is None:
                found[name] = text
        elif entry is None:
            if text != DEFAULTS.get(name):
                found[name] = _value(name, text)
        elif text != before[name]:
            is_default = text == DEFAULTS.get(name) and name not in entry.values
            found[name] = None if is_default else _value(name, text)
    return found


def edit_of(fields: Mapping[str, str], entry: Entry | None) -> dict[str, object]:
    """As POST /v1/group/preview takes it."""
    values = values_of(fields, entry)
    if entry is None:
        return {"op": "add_vip", "values": values}
    return {"op": "change_vip", "vip": entry.key, "values": values}


def by_field(problems: Sequence[Fields], index: int) -> tuple[dict[str, list[str]], list[str]]:
    """What is wrong with the VIP at `index`, by field, and with the rest of the file."""
    fields: dict[str, list[str]] = {}
    others: list[str] = []
    for problem in problems:
        path = _path(text_of(problem, "key"))
        text = said(problem)
        if path[:2] == ("vip", index) and len(path) > 2 and path[2] in FIELDS:
            fields.setdefault(str(path[2]), []).append(text)
        else:
            where = f"{text_of(problem, 'file')}: {text_of(problem, 'key')}: "
            others.append(f"{where}{text}")
    return fields, others


def said(problem: Fields) -> str:
    hint = text_of(problem, "hint")
    told = f"found {text_of(problem, 'found')}, expected {text_of(problem, 'expected')}"
    return f"{told} ({hint})" if hint else told


def free_vhid(taken: Iterable[int]) -> int | None:
    """The lowest that nobody has."""
    used = set(taken)
    return next((one for one in range(1, 256) if one not in used), None)


def _value(name: str, text: str) -> object:
    """A number that is none is judged as the text that it is."""
    if name in ("vhid", "advbase"):
        is_number = text.isascii() and text.isdigit() and len(text) < 10
        return int(text) if is_number else text
    if name == "addresses":
        return text.replace(",", " ").split()
    return text


def _path(key: str) -> tuple[str | int, ...]:
    try:
        return parse(key)
    except ValueError:
        return ()
