"""What the Settings page shows besides its fields: what there is to choose from, the times that a
schedule means, checks and how they stand, and what each node has of its own.

Room: web. Pure: answers of the agent in, words out; the zone and the time are handed in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from carpool.api.render import entries_of, number_of, text_of, words_of
from carpool.machine.calendar import Zone, next_run, weekday
from carpool.model.calendar import NoCalendarError, calendar
from carpool.web.backupview import moment
from carpool.web.members import MASTER, Member
from carpool.web.settingfields import INTERFACE_KEYS, PROTOCOL_NAMES, SECTIONS_KEY
from carpool.web.settingform import TEXT_MAX, YES, Choice, Field, Form, Group, choices, rows, said

Fields = Mapping[str, object]
Offered = Mapping[str, Sequence[Choice]]  # by the key of a field
TIMES = 3  # that a schedule is explained by
PATHS_MAX = 3  # of a section that are named
STANDS = {"True": ("fails", "bad"), "False": ("well", "good")}
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True)
class ShownField:
    """A field as the template places it."""

    field: Field
    text: str
    wrong: str
    said: list[str]
    choices: list[Choice]
    ticked: list[str]
    rows: list[dict[str, str]]
    interfaces: list[str]
    protocols: list[str]
    most: int = TEXT_MAX


@dataclass(frozen=True, slots=True)
class ShownGroup:
    group: Group
    on: bool  # its table is there
    fields: list[ShownField]


@dataclass(frozen=True, slots=True)
class Check:
    """One of checks.d on this node. `result`: of its last run."""

    name: str
    state: str
    tone: str
    result: str
    time: str
    interval: str
    weight: str


@dataclass(frozen=True, slots=True)
class OwnKeys:
    """What a node has in its node.toml; `device` and `advskew` as it says itself."""

    name: str
    here: bool
    advskew: str
    rows: tuple[tuple[str, str, str], ...]  # logical interface, device, own addresses


def shown(group: Group, form: Form, there: Offered, wrong: Mapping[str, str]) -> ShownGroup:
    """A form to fill in, or to read; `wrong` by the key of a field."""
    interfaces = [one.value for one in there.get(INTERFACE_KEYS[0], ())]
    fields = [
        ShownField(
            field=one,
            text=form.get(one.key, ""),
            wrong=wrong.get(one.key, ""),
            said=said(one, form, there),
            choices=choices(one, form, there),
            ticked=[name.removeprefix(f"{one.key}.") for name in form],
            rows=rows(one, form),
            interfaces=interfaces,
            protocols=list(PROTOCOL_NAMES),
        )
        for one in group.fields
    ]
    return ShownGroup(group, not group.table or form.get(group.table) == YES, fields)


def primary(members: Sequence[Member]) -> str:
    """The node that is MASTER of every VIP whose link is up; "": there is none now."""
    for one in members:
        up = [vip for vip in one.vips.values() if vip.state != "INIT"]
        if not one.error and up and all(vip.state == MASTER for vip in up):
            return one.name
    return ""


def reading(members: Sequence[Member], *, is_admin: bool) -> str:
    """Why the settings are not changed here and now, and where they are; "": they may be."""
    name, here = primary(members), next((one.name for one in members if one.here), "")
    if name and name != here:
        return f"{name} is the primary: settings are changed on its pages, and come here from it."
    if not name:
        return "No node is MASTER of every VIP now: settings are changed on the one that is."
    return "" if is_admin else "Settings are changed by accounts with the role admin."


def offered(answer: Fields, values: Fields) -> dict[str, list[Choice]]:
    """Of GET /v1/settings, and of what group.toml says, by the key of the field."""
    interfaces = [Choice(name, name) for name in _of(_of(answer, "node"), "interfaces")]
    changed = _of(values, "section")
    sections = [_section(row, changed) for row in entries_of(answer, "sections")]
    return {**dict.fromkeys(INTERFACE_KEYS, interfaces), SECTIONS_KEY: sections}


def _section(row: Fields, changed: Fields) -> Choice:
    name, paths = text_of(row, "name"), words_of(row, "paths")
    where = ", ".join(paths[:PATHS_MAX]) + (" and more" if len(paths) > PATHS_MAX else "")
    more = ": ".join(one for one in (text_of(row, "description"), where) if one)
    marks = [
        "" if row.get("installed") is True else "not installed here",
        "" if row.get("preset") is True else "of this group",
        "changed by this group" if row.get("preset") is True and name in changed else "",
    ]
    return Choice(name, name, more, ", ".join(one for one in marks if one))


def mistake(problem: Fields) -> tuple[str, str]:
    """What was found and expected, and what to do."""
    text = f"found {text_of(problem, 'found')}, expected {text_of(problem, 'expected')}"
    hint = text_of(problem, "hint")
    return text, f"({hint})" if hint else ""


def times(expression: str, wall_s: float, zone: Zone) -> list[str]:
    """The next that it means, `Tue 2026-11-24 02:30:00`; none for what is no schedule."""
    try:
        found = calendar(expression)
    except NoCalendarError:
        return []
    told: list[str] = []
    at: float | None = wall_s
    while len(told) < TIMES and at is not None and (at := next_run(found, at, zone)) is not None:
        civil = zone.civil(at)
        day = DAYS[weekday(civil.year, civil.month, civil.day)]
        date = f"{civil.year}-{civil.month:02}-{civil.day:02}"
        told.append(f"{day} {date} {civil.hour:02}:{civil.minute:02}:{civil.second:02}")
    return told


def checks_of(answer: Fields) -> list[Check]:
    """Of GET /v1/checks."""
    return [_check(row) for row in entries_of(answer, "checks")]


def _check(row: Fields) -> Check:
    state, tone = STANDS.get(str(row.get("failing")), ("not known yet", "calm"))
    result, last = text_of(row, "result"), text_of(row, "last_line")
    return Check(
        name=text_of(row, "name"),
        state=state,
        tone=tone,
        result=": ".join(one for one in (result, last) if one),
        time=moment(text_of(row, "time")),
        interval=f"{number_of(row, 'interval_s'):g} s",
        weight=f"{number_of(row, 'weight'):g}",
    )


def own_keys(answer: Fields, nodes: Fields, members: Sequence[Member]) -> list[OwnKeys]:
    """Of GET /v1/settings and GET /v1/nodes: devices of a peer are what it says now, addresses
    what this node's file says of it."""
    node = _of(answer, "node")
    devices = {text_of(row, "name"): _devices(row) for row in entries_of(nodes, "nodes")}
    devices[text_of(node, "name")] = {
        name: str(device) for name, device in _of(node, "interfaces").items()
    }
    advskews = {one.name: str(one.advskew) for one in members if not one.error}
    found: list[OwnKeys] = []
    for name, addresses in _of(node, "addresses").items():
        own = _of({"": addresses}, "")
        known = devices.get(name, {})
        rows = tuple(
            (one, known.get(one, ""), ", ".join(words_of(own, one)))
            for one in dict.fromkeys([*known, *own])
        )
        here = name == text_of(node, "name")
        advskew = text_of(node, "advskew") if here else advskews.get(name, "not known now")
        found.append(OwnKeys(name, here, advskew, rows))
    return found


def _devices(row: Fields) -> dict[str, str]:
    told = entries_of(_of(row, "failover"), "interfaces")
    return {text_of(one, "interface"): text_of(one, "device") for one in told}


def _of(fields: Fields, key: str) -> Fields:
    value = fields.get(key)
    return value if isinstance(value, Mapping) else {}
