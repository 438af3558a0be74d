"""No password is shown, however it is written; what else group.toml says, is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.machine.mask import masked
from carpool.machine.textdiff import DIFFERS, unified

SECRET, OTHER = "hunter2", "swordfish"


def shown(text: str) -> str | None:
    found = masked(text.splitlines(keepends=True))
    return None if found is None else "".join(found[0])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f'password = "{SECRET}"', "password = (hidden)"),
        (f"  password='{SECRET}'\r", "  password=(hidden)\r"),
        (f'"password" = "{SECRET}"', '"password" = (hidden)'),
        (f"vip.'password'  =  '{SECRET}'", "vip.'password'  =  (hidden)"),
        (
            f'vip = [{{vhid = 1, password = "{SECRET}"}}, {{ password = "{OTHER}", vhid = 2 }}]',
            "vip = [{vhid = 1, password = (hidden)}, { password = (hidden), vhid = 2 }]",
        ),
        (f'password = "{SECRET}" # was {OTHER}', "(hidden)"),
        (f'password = "{SECRET}\\"{OTHER}"', None),
        (f'password = "\\t{SECRET}"', None),
        (f"# password = {SECRET}\nvhid = 1", "(hidden)\nvhid = 1"),
        ('password = ""\nvhid = 1', "password = (hidden)\nvhid = 1"),
        (f"  # it is {SECRET}\npassword = '{SECRET}'", "  (hidden)\npassword = (hidden)"),
        (f'x = "password = ", password = "{SECRET}"', None),
        (f'v = {{x = "password = ", password = "{SECRET}"}}', None),
        (f'v = {{x = "password = ", password = """{SECRET}\n{OTHER}"""}}', None),
        (f'v = {{x = "password = ", password = ["{SECRET}",\n"{OTHER}\\t"]}}', None),
        (f'password = """{SECRET}\n{OTHER}"""', None),
        (f"password = '''\n{SECRET}'''", None),
        (f'"pass\\u0077ord" = "{SECRET}"', None),
        (f'password = ["{SECRET}",\n"{OTHER}"]', None),
        (f'[password]\nvip = "{SECRET}"', None),
        (f'Password = "{SECRET}"', None),
        (f'old_password = "{SECRET}"', None),
        (f'password = "{SECRET}', None),  # no TOML
        ('name = "x"\ncheck = """\nsay "x"\n"""', 'name = "x"\ncheck = """\nsay "x"\n"""'),
    ],
)
def test_a_password_is_hidden_and_nothing_else(line: str, expected: str | None) -> None:
    found = shown(f"{line}\n")
    assert found == (None if expected is None else f"{expected}\n")
    assert found is None or (SECRET not in found and OTHER not in found)


def test_a_password_of_one_version_is_in_no_line_of_the_other() -> None:
    old, new = [f'password = "{SECRET}"\n'], [f'# no more {SECRET}\nname = "x"\n']
    assert masked(old, new) == [["password = (hidden)\n"], ["(hidden)\n"]]


STRINGS = st.sampled_from([f'"{SECRET}"', f"'{SECRET}'", f'"""{SECRET}"""', f"'''\n{SECRET}\n'''"])
KEYS = st.sampled_from(["password", '"password"', "'password'", "a.password", '"\\u0070assword"'])
NOISE = st.sampled_from(
    [
        "",
        'x = "password = "',
        "# 'password = ",
        "x = '''",
        "'''",
        'x = {b = "\'password="}',
        "[[c]]",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(NOISE, KEYS, st.sampled_from("= ")), max_size=4), STRINGS, st.booleans())
def test_no_password_whatever_is_around_it(
    parts: list[tuple[str, str, str]], value: str, inline: bool
) -> None:
    rows: list[str] = []
    for number, (noise, key, space) in enumerate(parts):
        pair = f"{key}{space.strip()} = {value}".replace("= =", "=")
        rows += [noise, f"[t{number}]", f"v = {{ n = 'password = ', {pair} }}" if inline else pair]
    found = shown("\n".join(rows))
    assert found is None or SECRET not in found


def test_the_diff_of_a_group_shows_what_is_no_password() -> None:
    old = f'[[vip]]\nvhid = 51\npassword = "{SECRET}"\n'.encode()
    new = f'[[vip]]\nvhid = 52\npassword = "{OTHER}"\n'.encode()
    found = unified("group.toml", old, new, secret=True, passwords=True)
    rows = found.text.splitlines()[3:]
    assert rows == [
        " [[vip]]",
        *("-vhid = 51", "-password = (hidden)", "+vhid = 52", "+password = (hidden)"),
    ]
    assert (found.secret, found.added, found.removed) == (False, 2, 2)
    assert unified("group.toml", None, new, secret=True, passwords=True).added == 3
    broken = unified("group.toml", old, b"password = '", secret=True, passwords=True)
    assert (broken.text, broken.secret) == (DIFFERS, True)
