"""A TOML text with one key changed: everything else stays as the operator wrote it."""

from __future__ import annotations

import tomllib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.api.tomledit import add_table, remove_value, render, set_value
from carpool.errors import ConfigError

TEXT = """\
# what we share
name = "edge"  # of the group

# the LAN
[[vip]]
interface = "lan"
vhid = 51  # first
addresses = [
    "10.0.0.1/24",  # the gateway
]

# the WAN
[[vip]]
interface = "wan"
vhid = 52

# between the nodes
[sync]
interface = "sync"

# the pages
[web]
interfaces = ["lan"]
"""


def test_a_value_is_replaced_and_its_comment_stays() -> None:
    assert set_value(TEXT, ("vip", 0, "vhid"), 7) == TEXT.replace("vhid = 51", "vhid = 7")
    assert set_value(TEXT, ("name",), "x") == TEXT.replace('"edge"', '"x"')


def test_a_new_key_stands_with_those_of_its_table() -> None:
    assert set_value(TEXT, ("sync", "port"), 1) == TEXT.replace(
        '= "sync"\n', '= "sync"\nport = 1\n'
    )
    assert set_value(TEXT, ("preempt",), False) == TEXT.replace(
        "of the group\n", "of the group\npreempt = false\n"
    )
    at_wan = set_value(TEXT, ("vip", 1, "mac"), "interface")
    assert at_wan == TEXT.replace("vhid = 52\n", 'vhid = 52\nmac = "interface"\n')


def test_a_new_table_comes_last_and_dotted_keys_stay_together() -> None:
    assert set_value(TEXT, ("states", "port"), 3) == f"{TEXT}\n[states]\nport = 3\n"
    assert set_value("a.b = 1\nc = 2\n", ("a", "d"), 3) == "a.b = 1\na.d = 3\nc = 2\n"
    assert set_value("", ("a",), 1) == "a = 1\n"
    assert set_value("# top\n[b]\nc=1", ("a",), 1) == "a = 1\n# top\n[b]\nc=1"


def test_a_table_replaces_what_is_there() -> None:
    text = '[hooks]\ntimeout = 5\n[hooks.a]\nrun = "x"\nlate = 1\n\n# end\n[web]\n'
    found = set_value(text, ("hooks", "a"), {"run": "y"})
    assert tomllib.loads(found) == {"hooks": {"timeout": 5, "a": {"run": "y"}}, "web": {}}
    inline = set_value("w = {a = 1, b = 2} # why\n", ("w", "b"), 3)
    assert inline == "w = {a = 1, b = 3} # why\n"
    assert remove_value(inline, ("w", "a")) == "w = {b = 3} # why\n"


def test_what_is_removed_takes_its_own_comment_and_no_other() -> None:
    assert (
        remove_value(TEXT, ("vip", 0))
        == TEXT[: TEXT.index("# the LAN")] + TEXT[TEXT.index("# the WAN") :]
    )
    wan, after = TEXT.index("# the WAN"), TEXT.index("# between")
    assert remove_value(TEXT, ("vip", 1)) == TEXT[:wan] + TEXT[after:]
    assert remove_value(TEXT, ("web",)) == TEXT[: TEXT.index("\n# the pages")]
    assert remove_value(TEXT, ("vip", 0, "addresses")) == TEXT.replace(
        'addresses = [\n    "10.0.0.1/24",  # the gateway\n]\n', ""
    )
    assert remove_value(TEXT, ("nothing", "there")) == TEXT


def test_an_array_of_tables_gets_one_more_after_its_last() -> None:
    found = add_table(TEXT, ("vip",), {"interface": "dmz", "vhid": 53})
    block = '\n[[vip]]\ninterface = "dmz"\nvhid = 53\n'
    assert found == TEXT.replace("vhid = 52\n", f"vhid = 52\n{block}")
    assert add_table('name = "a"', ("vip",), {"vhid": 1}) == 'name = "a"\n\n[[vip]]\nvhid = 1\n'
    inline = add_table("vip = [{vhid = 1}]\n", ("vip",), {"vhid": 2})
    assert inline == "vip = [{vhid = 1}, {vhid = 2}]\n"
    assert remove_value(inline, ("vip", 0)) == "vip = [{vhid = 2}]\n"
    assert tomllib.loads(remove_value("[[vip]]\nvhid = 1\n", ("vip", 0))) == {}


def test_lines_end_as_they_do_in_the_file() -> None:
    text = TEXT.replace("\n", "\r\n")
    changed = set_value(text, ("sync", "list"), ["x" * 60, "y" * 60])
    added = add_table(changed, ("vip",), {"vhid": 1})
    assert "\n" not in added.replace("\r\n", "")
    assert add_table("a = 1", ("vip",), {"vhid": 1}) == "a = 1\n\n[[vip]]\nvhid = 1\n"


@pytest.mark.parametrize(
    "change",
    [
        lambda: set_value(TEXT, (), 1),
        lambda: set_value(TEXT, (0,), 1),
        lambda: set_value(TEXT, ("vip", 7, "vhid"), 1),
        lambda: set_value(TEXT, ("name", "below"), 1),
        lambda: set_value(TEXT, ("vip", "a"), 1),
        lambda: set_value(TEXT, ("a",), None),
        lambda: set_value(TEXT, ("a",), float("nan")),
        lambda: set_value(TEXT, ("a",), 2**63),
        lambda: set_value(TEXT, ("a",), "\ud800"),
        lambda: set_value("no toml", ("a",), 1),
        lambda: add_table(TEXT, ("name",), {}),
    ],
)
def test_what_cannot_be_is_refused(change: Callable[[], str]) -> None:
    with pytest.raises(ConfigError):
        change()


def test_values_nested_without_end_are_refused() -> None:
    value: object = 1
    for _ in range(100):
        value = [value]
    with pytest.raises(ConfigError):
        set_value(TEXT, ("a",), value)


VALUES = st.recursive(
    st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=4), below, max_size=3)
    ),
    max_leaves=6,
)


@given(VALUES)
@settings(max_examples=80, deadline=None)
def test_whatever_is_set_is_what_tomllib_reads(value: object) -> None:
    assert tomllib.loads(f"a = {render(value)}") == {"a": value}
    if value != {}:
        assert tomllib.loads(set_value(TEXT, ("sync", "x"), value))["sync"]["x"] == value
