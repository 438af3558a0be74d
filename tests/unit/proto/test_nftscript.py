"""Where a script of nft clears tables and includes files, and what else is put there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.proto.nftscript import Clear, Include, replaced, statements

SCRIPT = """#!/usr/sbin/nft -f
# flush ruleset
define lan = "eth0" # delete table x
flush ruleset
table inet filter { comment "flush ruleset; delete table a"
  include "/etc/nftables.d/*.nft"
  chain c { type filter hook input priority 0; }
}
"""


def found(text: str) -> list[tuple[str | None, str | None] | str]:
    return [
        one.pattern if isinstance(one, Include) else (one.family, one.table)
        for one in statements(text)
    ]


def test_comments_strings_and_blocks_clear_nothing() -> None:
    assert found(SCRIPT) == [(None, None), "/etc/nftables.d/*.nft"]
    clear, include = statements(SCRIPT)
    assert SCRIPT[clear.start : clear.end] == "flush ruleset"
    assert SCRIPT[include.start : include.end] == 'include "/etc/nftables.d/*.nft"'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flush ruleset inet", [("inet", None)]),
        ("flush\truleset;flush ruleset # twice", [(None, None), (None, None)]),
        ("flush \\\n ruleset", [(None, None)]),
        ("add table ip6 x; delete table ip6 x", [("ip6", "x")]),
        ("destroy table x", [("ip", "x")]),
        ("table inet x { chain y { accept; }; }; delete table inet x", [("inet", "x")]),
        ("delete table inet handle 7", []),
        ("flush table inet x\nflush ruleset x\nflush rulesets", []),
        ("table inet x { chain y {\nflush ruleset\n} }", []),
        ('include "a"; include "./b"\ninclude c', ["a", "./b"]),
        ('include "unfinished', []),
        ("}}} flush ruleset", [(None, None)]),
        ("", []),
    ],
)
def test_statements(text: str, expected: list[object]) -> None:
    assert found(text) == expected


def test_other_text_takes_their_places_on_the_same_lines() -> None:
    text = "flush \\\nruleset; define a = 1\ndelete table ip x\n"
    new = replaced(text, lambda one: "NEW; " if isinstance(one, Clear) and not one.table else None)
    assert new == "NEW; \\\n; define a = 1\ndelete table ip x\n"
    assert replaced(SCRIPT, lambda _: None) == SCRIPT


@given(st.text(alphabet='aflush rt{};"#\\\n'))
def test_any_text_is_left_as_it_is_but_for_these_statements(text: str) -> None:
    assert replaced(text, lambda one: text[one.start : one.end].replace("\\\n", "")).replace(
        "\\\n", ""
    ) == text.replace("\\\n", "")
    assert replaced(text, lambda one: "").count("\n") == text.count("\n")
