"""Lines of keys in every shape that TOML has."""

from __future__ import annotations

import tomllib

import pytest

from carpool.api.locate import Locator
from carpool.model.keypath import KeyPath, parse

SOURCE = """\
# a comment
a = 1
b.c."d e" = 2

[t] # comment
x = { y = 1, z = { w = "#" } }
list = [
    1, # one
    # two is missing
    3, [4,
    5],
    { k = 6 },
]
text = '''
[no table]
k = 1
'''

[p.q]
r = 1

[[v]]
n = 1
[v.sub]
s = 1
[[v.inner]]
i = 1
[[v.inner]]
j.k = 1
[v.inner.deep]
m = 1
[[v]]

n = 2

[v.sub]
'quoted' = 1
"""


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("a", 2),
        ("b", 3),
        ("b.c", 3),
        ('b.c."d e"', 3),
        ("t", 5),
        ("t.x", 6),
        ("t.x.z.w", 6),
        ("t.list", 7),
        ("t.list[0]", 8),
        ("t.list[1]", 10),
        ("t.list[2][0]", 10),
        ("t.list[2][1]", 11),
        ("t.list[3].k", 12),
        ("t.text", 14),
        ("p", 19),
        ("p.q.r", 20),
        ("v", 22),
        ("v[0]", 22),
        ("v[0].n", 23),
        ("v[0].sub", 24),
        ("v[0].sub.s", 25),
        ("v[0].inner", 26),
        ("v[0].inner[0].i", 27),
        ("v[0].inner[1]", 28),
        ("v[0].inner[1].j.k", 29),
        ("v[0].inner[1].deep.m", 31),
        ("v[1]", 32),
        ("v[1].n", 34),
        ("v[1].sub.quoted", 37),
    ],
)
def test_lines(key: str, line: int) -> None:
    assert value_at(parse(key)) is not None  # the key is right
    assert Locator(SOURCE).line(parse(key)) == line


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("v[0].missing", 22),
        ("v[1].sub.missing", 36),
        ("v[7].n", 22),
        ("t.list[9]", 7),
        ("t.x.missing", 6),
        ("a[0]", 2),
        ("p.missing.more", 19),
        ("missing", None),
        ("", None),
    ],
)
def test_a_missing_key_is_where_its_table_begins(key: str, line: int | None) -> None:
    assert Locator(SOURCE).line(parse(key)) == line


def test_an_empty_file() -> None:
    assert Locator("").line(("a",)) is None


def value_at(path: KeyPath) -> object:
    value: object = tomllib.loads(SOURCE)
    for part in path:
        value = value[part]  # type: ignore[index]
    return value
