"""What is in the fields of a form, as edits."""

from __future__ import annotations

from carpool.web import vipform
from carpool.web.vipform import Entry

ENTRY = Entry(
    4,
    {
        "interface": "lan",
        "vhid": 1,
        "password": True,
        "addresses": ["10.0.0.1/24"],
        "advbase": 1,
    },
)


def test_a_value_that_is_the_default_is_not_written_unless_it_was() -> None:
    fields = vipform.filled(ENTRY)
    assert vipform.values_of(fields, ENTRY) == {}
    assert vipform.values_of({**fields, "advbase": "2"}, ENTRY) == {"advbase": 2}
    assert vipform.values_of({**fields, "mac": "interface"}, ENTRY) == {"mac": "interface"}
    was = Entry(0, {**ENTRY.values, "mac": "interface"})
    assert vipform.values_of({**fields, "mac": "virtual"}, was) == {"mac": "virtual"}
    assert vipform.values_of({**fields, "password": "x"}, ENTRY) == {"password": "x"}


def test_what_is_no_number_is_judged_as_it_is() -> None:
    empty = vipform.filled(None)
    for text, value in (("7", 7), ("x", "x"), ("", ""), ("٣", "٣"), ("9" * 20, "9" * 20)):
        assert vipform.values_of({**empty, "vhid": text}, None)["vhid"] == value
    found = vipform.values_of({**empty, "addresses": "a/1, b/2\n c"}, None)
    assert found["addresses"] == ["a/1", "b/2", "c"]


def test_fields_are_bounded_and_others_are_passed_over() -> None:
    found = vipform.given({"vhid": " 3 ", "password": " p ", "addresses": "x" * 99_999, "z": "z"})
    assert found["vhid"] == "3" and found["password"] == " p "
    assert len(found["addresses"]) == vipform.TEXT_MAX
    assert found.keys() == set(vipform.FIELDS)


def test_problems_go_to_their_fields() -> None:
    rows = [
        {"file": "group.toml", "key": "vip[4].addresses[0]", "found": "a", "expected": "b"},
        {"file": "group.toml", "key": "vip[40].vhid", "found": "c", "expected": "d", "hint": "e"},
        {"file": "node.toml", "key": "no key at all [", "found": "f", "expected": "g"},
    ]
    fields, others = vipform.by_field(rows, 4)
    assert fields == {"addresses": ["found a, expected b"]}
    assert others == [
        "group.toml: vip[40].vhid: found c, expected d (e)",
        "node.toml: no key at all [: found f, expected g",
    ]


def test_entries_of_whatever_is_there() -> None:
    odd: list[object] = [None, {}, {"vip": 3}, {"vip": [1, "x"]}, []]
    for values in odd:
        assert vipform.entries(values) == []


def test_a_free_vhid() -> None:
    assert vipform.free_vhid([]) == 1
    assert vipform.free_vhid([1, 2, 4]) == 3
    assert vipform.free_vhid(range(256)) is None
