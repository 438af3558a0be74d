"""Settings to a form and back: an untouched form asks for nothing, and a touched one for little."""

from __future__ import annotations

import tomllib

import pytest

from carpool.api.groupedit import RemoveKey, SetKey, digest_of, edited
from carpool.api.settings import STATES_KEYS
from carpool.api.settingscripts import CHECK_KEYS, DAMPING_KEYS
from carpool.api.settingsync import SYNC_KEYS
from carpool.model.keypath import parse
from carpool.web import settingform
from carpool.web.settingfields import (
    BY_SLUG,
    CHECKS,
    GROUPS,
    PREEMPT,
    SCHEDULE,
    SECTIONS,
    STATES,
)
from carpool.web.settingform import Choice, Edit, Group, Kind, asked, by_field, filled

NAME = 'name = "edge"  # of us all'
FULL_TEXT = """
preempt = false
[damping]
hold_down = "30s"
preempt_delay = "1m"
moves_per_hour = 6
[states]
interface = "sync"
port = 3782
scope = "all"
encryption = "none"
no_sync_mark = "0x1/0xff"
exclude = [
    {interface = "guest"},
    {protocol = "udp", port = 53},
    {network = "10.9.0.0/16", mark = "0x2"},
]
[sync]
interface = "sync"
sections = ["unbound", "nftables"]
port = 3999
schedule = "daily"
schedule_jitter = "10m"
[checks]
interval = "20s"
timeout = "5s"
rise = 3
fall = 2
weight = 0
"""
FULL = tomllib.loads(FULL_TEXT)
BARE_TEXT = '[states]\ninterface = "sync"\n[sync]\ninterface = "sync"\n'
BARE = tomllib.loads(BARE_TEXT)
OFFERED = {"states.interface": [Choice("lan", "lan"), Choice("sync", "sync")]}


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: str(group.slug))
@pytest.mark.parametrize("values", [FULL, BARE, {}], ids=["full", "bare", "nothing"])
def test_an_untouched_form_asks_for_nothing(group: Group, values: dict[str, object]) -> None:
    found = asked(group, values, filled(group, values))
    assert (found.edits, dict(found.wrong)) == ((), {})


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: str(group.slug))
def test_from_nothing_to_everything(group: Group) -> None:
    """The form of the full file, sent to a node with an empty one, makes it as full; but for what
    holds anyhow."""
    edits = {one.key: one.value for one in asked(group, {}, filled(group, FULL)).edits}
    for one in group.fields:
        value = settingform.found(FULL, one.path)
        if isinstance(value, list) and one.kind is Kind.SEVERAL:
            value = sorted(value)  # new ones come in the order of their names
        assert edits.get(one.key, one.default) == value


@pytest.mark.parametrize("before", [FULL_TEXT, BARE_TEXT, ""], ids=["full", "bare", "nothing"])
@pytest.mark.parametrize("after", [FULL_TEXT, BARE_TEXT, ""], ids=["full", "bare", "nothing"])
def test_the_file_says_then_what_the_form_said(before: str, after: str) -> None:
    """All forms, one after the other; asked again, nothing is left to change."""
    text, wanted = f"{NAME}\n{before}", tomllib.loads(after)
    for group in GROUPS:
        form = filled(group, wanted)
        edits = [
            RemoveKey(parse(one.key)) if one.value is None else SetKey(parse(one.key), one.value)
            for one in asked(group, tomllib.loads(text), form).edits
        ]
        text = edited(text, edits, digest_of(text))
        assert asked(group, tomllib.loads(text), form).edits == ()
    assert text.startswith(NAME)
    for group in GROUPS:
        assert filled(group, tomllib.loads(text)) == filled(group, wanted)


def test_every_key_of_these_tables_has_a_field() -> None:
    keys = {one.key for group in GROUPS for one in group.fields}
    tables = {
        "states": STATES_KEYS,
        "sync": SYNC_KEYS,
        "checks": CHECK_KEYS,
        "damping": DAMPING_KEYS,
    }
    assert keys == {"preempt"} | {f"{name}.{key}" for name in tables for key in tables[name]}
    assert set(BY_SLUG) == {"preempt", "damping", "states", "sections", "schedule", "checks"}


def test_a_box_that_is_not_ticked_is_no() -> None:
    assert asked(PREEMPT, {}, {}).edits == (Edit("preempt", False),)
    assert asked(PREEMPT, {"preempt": False}, {"preempt": "yes"}).edits == (Edit("preempt", True),)


def test_a_whole_table_goes_and_comes() -> None:
    assert asked(STATES, FULL, {}).edits == (Edit("states"),)
    assert asked(STATES, {}, {}).edits == ()
    form = {"states": "yes", "states.interface": "sync"}
    assert asked(STATES, {}, form).edits == (Edit("states.interface", "sync"),)


def test_an_emptied_field_takes_its_key_away() -> None:
    form = {**filled(SCHEDULE, FULL), "sync.schedule": " "}
    assert asked(SCHEDULE, FULL, form).edits == (Edit("sync.schedule"),)
    form = {**filled(CHECKS, FULL), "checks.interval": "", "checks.weight": "240"}
    found = asked(CHECKS, FULL, form)
    assert found.edits == (Edit("checks.interval"), Edit("checks.weight", 240))


def test_sections_stay_in_their_order() -> None:
    form = filled(SECTIONS, FULL) | {"sync.sections.chrony": "yes", "sync.sections.bird": "yes"}
    wanted = ["unbound", "nftables", "bird", "chrony"]
    assert asked(SECTIONS, FULL, form).edits == (Edit("sync.sections", wanted),)
    del form["sync.sections.unbound"]
    assert asked(SECTIONS, FULL, form).edits == (Edit("sync.sections", wanted[1:]),)
    none = {name: value for name, value in form.items() if ".sections." not in name}
    assert asked(SECTIONS, FULL, none).edits == (Edit("sync.sections", []),)


def test_a_row_that_is_emptied_goes_and_a_new_one_comes() -> None:
    form = filled(STATES, FULL)
    form |= {"states.exclude.0.interface": "", "states.exclude.4.port": "53"}
    wanted = [
        {"protocol": "udp", "port": 53},
        {"network": "10.9.0.0/16", "mark": "0x2"},
        {"port": 53},
    ]
    assert asked(STATES, FULL, form).edits == (Edit("states.exclude", wanted),)


@pytest.mark.parametrize(
    ("key", "text", "told"),
    [
        ("states.port", "many", 'found "many", expected a whole number'),
        ("states.port", "1\x1b[2J", "\\u001b"),
        ("states.exclude.1.port", "domain", 'row 2, port: found "domain"'),
        ("states.no_sync_mark", "0" * 251, "251 characters, expected 250"),
        ("states.no_sync_mark", "a\nb", "a character that cannot be seen"),
    ],
)
def test_what_is_no_value_of_its_kind_is_told_beside_its_field(
    key: str, text: str, told: str
) -> None:
    found = asked(STATES, FULL, {**filled(STATES, FULL), key: text})
    assert found.edits == ()
    assert by_field(STATES, key.replace(".1.", "[1].")) in found.wrong
    assert told in "".join(found.wrong.values()) and "\x1b" not in str(found.wrong)


def test_a_problem_of_the_file_finds_its_field() -> None:
    assert by_field(STATES, "states.exclude[1].port") == "states.exclude"
    assert by_field(STATES, "states") == by_field(STATES, "vip[0]") == by_field(STATES, "[") == ""


def test_there_are_always_rows_to_fill_in_up_to_the_most() -> None:
    exclude = STATES.fields[-1]
    rows = settingform.rows(exclude, filled(STATES, FULL))
    assert [row["port"] for row in rows] == ["", "53", *[""] * 5]
    many = {"states": {"exclude": [{"port": 1}] * 31}}
    assert len(settingform.rows(exclude, filled(STATES, many))) == 32
    odd = {"states.exclude.x.port": "1", "states.exclude.99999.port": "1"}
    assert len(settingform.rows(exclude, odd)) == 32


def test_what_the_file_says_is_always_among_the_choices() -> None:
    interface = STATES.fields[0]
    names = [one.value for one in settingform.choices(interface, {}, OFFERED)]
    assert names == ["lan", "sync", ""]
    strange = settingform.choices(interface, {"states.interface": "gone"}, OFFERED)
    assert strange[-1] == Choice("gone", "gone", mark="not known to this node")
    sections = settingform.choices(SECTIONS.fields[0], filled(SECTIONS, FULL), {})
    assert [one.value for one in sections] == ["unbound", "nftables"]


def test_the_same_to_read() -> None:
    form = filled(STATES, FULL)
    read = {one.key: settingform.said(one, form, OFFERED) for one in STATES.fields}
    assert read["states.port"] == ["3782 (default)"]
    assert read["states.scope"] == ["all"]
    assert read["states.exclude"] == [
        "interface guest",
        "protocol udp, port 53",
        "network 10.9.0.0/16, mark 0x2",
    ]
    assert settingform.said(SECTIONS.fields[0], filled(SECTIONS, FULL), {}) == ["unbound, nftables"]
    assert settingform.said(PREEMPT.fields[0], {}, {}) == ["no"]
    empty = [settingform.said(one, {}, OFFERED) for one in STATES.fields]
    assert empty[0] == ["none"] and empty[-1] == ["none"]
