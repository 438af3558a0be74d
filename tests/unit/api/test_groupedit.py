"""Edits of a group.toml: VIPs by their key, and only of the text that they were made for."""

from __future__ import annotations

import tomllib

import pytest

from carpool.api.groupedit import (
    AddVip,
    ChangeVip,
    Edit,
    Edited,
    RemoveKey,
    RemoveVip,
    SetKey,
    digest_of,
    edited,
)
from carpool.errors import ConfigError

TEXT = """\
name = "edge"

[[vip]]  # for clients
interface = "lan"
vhid = 51
password = "one"  # by mail
addresses = ["10.0.0.1/24"]

[[vip]]
interface = "wan"
vhid = 51
password = "two"
addresses = ["192.0.2.1/24"]
"""


def done(*edits: Edit, text: str = TEXT) -> str:
    return edited(text, edits, digest_of(text))


def test_several_edits_are_one() -> None:
    found = done(
        SetKey(("sync", "interface"), "sync"),
        ChangeVip("51@wan", {"vhid": 52, "password": "x", "mac": "interface"}),
        AddVip({"interface": "dmz", "vhid": 53}),
        RemoveVip("51@lan"),
        RemoveKey(("name",)),
    )
    assert tomllib.loads(found) == {
        "vip": [
            {
                "interface": "wan",
                "vhid": 52,
                "password": "x",
                "addresses": ["192.0.2.1/24"],
                "mac": "interface",
            },
            {"interface": "dmz", "vhid": 53},
        ],
        "sync": {"interface": "sync"},
    }


def test_what_is_not_named_stays_and_none_removes() -> None:
    found = done(ChangeVip("51@lan", {"addresses": ["10.0.0.2/24"], "mac": None}))
    assert found == TEXT.replace("10.0.0.1", "10.0.0.2")
    assert done(ChangeVip("51@lan", {"password": None})) == TEXT.replace(
        'password = "one"  # by mail\n', ""
    )


def test_the_text_of_somebody_else_is_not_touched() -> None:
    digest = digest_of(TEXT)
    with pytest.raises(Edited, match="was changed since"):
        edited(f"{TEXT}# by hand\n", [RemoveVip("51@lan")], digest)


@pytest.mark.parametrize("vip", ["9@lan", "", "51@lan\n", "x" * 10_000, "51@"])
def test_a_vip_that_is_not_there_is_said(vip: str) -> None:
    with pytest.raises(ConfigError, match="no VIP"):
        done(RemoveVip(vip))


def test_a_vip_that_is_there_twice_is_not_guessed_at() -> None:
    twice = TEXT.replace('"wan"', '"lan"')
    with pytest.raises(ConfigError, match="2 times"):
        done(RemoveVip("51@lan"), text=twice)


@pytest.mark.parametrize(
    "hostile",
    ['"\n[web]\nport = 1\n', "'\"\\", "a # b", "\x00\x1b[2J", "]", '"""', "'''", "é\u2028x"],
)
def test_a_hostile_value_is_a_value_and_nothing_else(hostile: str) -> None:
    found = done(ChangeVip("51@lan", {"password": hostile}), SetKey(("vars", hostile), hostile))
    content = tomllib.loads(found)
    assert content["vip"][0]["password"] == hostile
    assert content["vars"] == {hostile: hostile}
    assert len(content["vip"]) == 2
    assert content.keys() == {"name", "vip", "vars"}
