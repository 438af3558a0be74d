"""A group of settings as a form: what group.toml says as its fields, and fields back to edits.

Room: web. Pure: values and what a browser sent in, edits or what is wrong out. Which fields there
are, `settingfields.py` says; what values mean together, the agent judges.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from carpool.model.config import EXCLUSIONS_MAX
from carpool.model.keypath import KeyPath, parse, quoted

Form = Mapping[str, str]
Values = Mapping[str, object]  # tables of group.toml, as TOML has them
Value = object  # bool, int, str, or a list of strings or of tables
YES = "yes"  # of a box that is ticked
TEXT_MAX = 250  # characters of one field
EXCLUDE_KEYS = ("interface", "network", "protocol", "port", "mark")
EMPTY_ROWS = 4  # to fill in at a time

_NUMBER = re.compile(r"-?[0-9]{1,9}", re.ASCII)


class Kind(StrEnum):
    TRUTH = "truth"
    CHOICE = "choice"
    NUMBER = "number"
    TEXT = "text"
    SEVERAL = "several"  # names, a box for each
    EXCLUSIONS = "exclusions"  # a row for each


class Choice(NamedTuple):
    """`more`: a sentence about it; `mark`: what is said beside it, in a word or two."""

    value: str
    words: str
    more: str = ""
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """One key. `about` is what group.toml(5) says of it; `default` what holds without it."""

    key: str  # `states.port`
    label: str
    about: str
    kind: Kind
    default: Value = None
    choices: tuple[Choice, ...] = ()  # those that do not depend on the node
    example: str = ""

    @property
    def path(self) -> KeyPath:
        return parse(self.key)


@dataclass(frozen=True, slots=True)
class Group:
    """What one form has. `table`: it may be there or not, by a box of its own, `switch`."""

    slug: str
    title: str
    about: str
    fields: tuple[Field, ...]
    table: str = ""
    switch: str = ""


@dataclass(frozen=True, slots=True)
class Edit:
    """A key of group.toml gets `value`; None takes the key, or the table, away."""

    key: str
    value: Value = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a form asks for; `wrong` by the key of the field, and then no edit counts."""

    edits: tuple[Edit, ...] = ()
    wrong: Mapping[str, str] = field(default_factory=dict)


class _WrongError(ValueError):
    """What a field holds is no value of its kind."""


# ----------------------------------------------------------------------------- file to form


def filled(group: Group, values: Values) -> dict[str, str]:
    """What a browser sends of this form, when nobody has touched it."""
    form: dict[str, str] = {}
    if group.table and isinstance(values.get(group.table), dict):
        form[group.table] = YES
    for one in group.fields:
        form.update(_filled(one, found(values, one.path)))
    return form


def _filled(one: Field, value: Value) -> Iterator[tuple[str, str]]:
    value = one.default if value is None else value
    match one.kind:
        case Kind.TRUTH:
            if value is True:
                yield one.key, YES
        case Kind.SEVERAL:
            yield from ((f"{one.key}.{name}", YES) for name in _names(value))
        case Kind.EXCLUSIONS:
            for number, row in enumerate(_tables(value)):
                for key in EXCLUDE_KEYS:
                    if key in row:
                        yield f"{one.key}.{number}.{key}", str(row[key])
        case Kind.CHOICE:
            yield one.key, "" if value is None else str(value)
        case Kind.NUMBER | Kind.TEXT:
            yield one.key, "" if value is None or value == one.default else str(value)


def found(values: Values, path: KeyPath) -> Value:
    """What is written there; None: nothing."""
    at: object = values
    for part in path:
        at = at.get(str(part)) if isinstance(at, Mapping) else None
    return at


def _names(value: Value) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _tables(value: Value) -> list[Mapping[str, object]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


# ----------------------------------------------------------------------------- form to edits


def asked(group: Group, values: Values, form: Form) -> Asked:
    """What would make the file say what this form says: as little as that takes."""
    if group.table and form.get(group.table) != YES:
        return Asked((Edit(group.table),) if group.table in values else ())
    edits: list[Edit] = []
    wrong: dict[str, str] = {}
    for one in group.fields:
        present = found(values, one.path)
        try:
            wanted = _read(one, form, present)
        except _WrongError as error:
            wrong[one.key] = str(error)
            continue
        if wanted is None and present is not None and present != one.default:
            edits.append(Edit(one.key))
        elif wanted is not None and wanted != (one.default if present is None else present):
            edits.append(Edit(one.key, wanted))
    return Asked(() if wrong else tuple(edits), wrong)


def _read(one: Field, form: Form, present: Value) -> Value:
    """What a field says; None: what holds without the key. Raises _WrongError."""
    text = form.get(one.key, "").strip()
    match one.kind:
        case Kind.TRUTH:
            return text == YES
        case Kind.SEVERAL:
            return _several(one, form, _names(present))
        case Kind.EXCLUSIONS:
            return _exclusions(one, form)
        case Kind.NUMBER:
            return _number(text) if text else None
        case Kind.TEXT | Kind.CHOICE:
            return _text(text) or None


def _text(text: str) -> str:
    if len(text) > TEXT_MAX:
        raise _WrongError(f"found {len(text)} characters, expected {TEXT_MAX} at most")
    if not text.isprintable():
        raise _WrongError("found a character that cannot be seen, expected plain text")
    return text


def _number(text: str) -> int:
    if _NUMBER.fullmatch(text) is None:
        raise _WrongError(f"found {quoted(text[:40])}, expected a whole number")
    return int(text)


def _several(one: Field, form: Form, present: Sequence[str]) -> Value:
    """In the order of the file, then what is new in that of the names: the diff is small."""
    start = f"{one.key}."
    ticked = {
        name.removeprefix(start)
        for name, value in form.items()
        if name.startswith(start) and value == YES
    }
    kept = [name for name in dict.fromkeys(present) if name in ticked]
    return [*kept, *(_text(name) for name in sorted(ticked - set(kept)))]


def _exclusions(one: Field, form: Form) -> list[dict[str, Value]]:
    """Rows that are empty are none."""
    rows: list[dict[str, Value]] = []
    for number in range(EXCLUSIONS_MAX):
        row: dict[str, Value] = {}
        for key in EXCLUDE_KEYS:
            text = form.get(f"{one.key}.{number}.{key}", "").strip()
            if not text:
                continue
            try:
                row[key] = _number(text) if key == "port" else _text(text)
            except _WrongError as error:
                raise _WrongError(f"row {number + 1}, {key}: {error}") from None
        if row:
            rows.append(row)
    return rows


# --------------------------------------------------------------------------------- to look at


def choices(one: Field, form: Form, offered: Mapping[str, Sequence[Choice]]) -> list[Choice]:
    """What there is to choose; what the file says is always among it. `offered` by key, of what
    depends on the node."""
    known = [*one.choices, *offered.get(one.key, ())]
    names = {choice.value for choice in known}
    strange = "not known to this node"
    if one.kind is Kind.SEVERAL:
        start = f"{one.key}."
        written = [name.removeprefix(start) for name in form if name.startswith(start)]
    else:
        written = [form.get(one.key, "")]
    return [
        *known,
        *(
            Choice(name, name or "choose one", mark=strange if name else "")
            for name in written
            if name not in names
        ),
    ]


def rows(one: Field, form: Form) -> list[dict[str, str]]:
    """The exclusions of a form, and empty ones to fill in."""
    start = f"{one.key}."
    numbers = [
        int(number)
        for name in form
        if name.startswith(start)
        and form[name]
        and (number := name.removeprefix(start).partition(".")[0]).isascii()
        and number.isdigit()
    ]
    count = min(max(numbers, default=-1) + 1 + EMPTY_ROWS, EXCLUSIONS_MAX)
    return [
        {key: form.get(f"{start}{number}.{key}", "") for key in EXCLUDE_KEYS}
        for number in range(count)
    ]


def said(one: Field, form: Form, offered: Mapping[str, Sequence[Choice]]) -> list[str]:
    """The same to read, in lines."""
    match one.kind:
        case Kind.TRUTH:
            return ["yes" if form.get(one.key) == YES else "no"]
        case Kind.CHOICE:
            value = form.get(one.key, "")
            chosen = (one for one in choices(one, form, offered) if one.value == value)
            return [next(chosen).words if value else "none"]
        case Kind.SEVERAL:
            start = f"{one.key}."
            ticked = [name.removeprefix(start) for name in form if name.startswith(start)]
            return [", ".join(ticked) or "none"]
        case Kind.EXCLUSIONS:
            lines = [
                ", ".join(f"{key} {value}" for key, value in row.items() if value)
                for row in rows(one, form)
            ]
            return [line for line in lines if line] or ["none"]
        case Kind.NUMBER | Kind.TEXT:
            if text := form.get(one.key, ""):
                return [text]
            return [f"{one.default} (default)" if one.default else "none"]


def by_field(group: Group, key: str) -> str:
    """The key of the field that a problem of the file is about; "": none of this form."""
    try:
        path = parse(key)
    except ValueError:
        return ""
    for one in group.fields:
        if path[: len(one.path)] == one.path:
            return one.key
    return ""
