"""What a node keeps of a file that arrives."""

from __future__ import annotations

import pytest

from carpool.machine.keep import KeepError, blanked, kept_whole, marked, merge, without
from carpool.model.section import Keep

PATH = "/etc/service.conf"
LOCAL = Keep(PATH, "# local", "# end local")
OTHER = Keep(PATH, "; mine", "; end mine")
TAIL = Keep(PATH, "# from here on")


def text(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def refused(new: bytes, mine: bytes, *keeps: Keep) -> str:
    with pytest.raises(KeepError) as caught:
        merge(new, mine, keeps)
    return str(caught.value)


def test_lines_between_the_markers_stay_with_their_markers() -> None:
    new = text("new", "# local: fw1", "one", "# end local", "also new")
    mine = text("old", "  # local: fw2", "two", "three", "  # end local")
    expected = text("new", "  # local: fw2", "two", "three", "  # end local", "also new")
    assert merge(new, mine, [LOCAL]) == expected


def test_without_a_nodes_own_lines_two_nodes_have_the_same() -> None:
    one = text("new", "# local: fw1", "one", "# end local", "also new", "# from here on", "x")
    two = text("new", " # local: fw2", "2", "3", "# end local fw2", "also new", "# from here on")
    rest = without(one, [LOCAL, TAIL])
    assert rest == without(two, [LOCAL, TAIL]) == b"new\n\0also new\n\0"
    assert without(text("x"), [LOCAL]) == text("x")
    elsewhere = text("# local: fw1", "one", "# end local", "new", "also new", "# from here on", "x")
    assert without(elsewhere, [LOCAL, TAIL]) != rest


def test_blanked_lines_leave_the_numbers_of_the_others() -> None:
    one = text("new", "# local: fw1", "one", "# end local", "also new") + b"# from here on\nx"
    assert blanked(one, [LOCAL, TAIL]) == text("new", "", "", "", "also new", "", "")
    assert blanked(one, []) == one
    with pytest.raises(KeepError, match="no end"):
        blanked(text("# local", "one"), [LOCAL])
    with pytest.raises(KeepError, match="no end"):
        without(text("# local", "x"), [LOCAL])


def test_the_first_time_it_comes_as_it_is() -> None:
    assert merge(b"new", None, [LOCAL]) == b"new"


def test_regions_of_one_marker_are_paired_in_order() -> None:
    new = text("# local", "a", "# end local", "x", "# local", "b", "# end local")
    mine = text("# local", "1", "# end local", "# local", "2", "# end local", "y")
    expected = text("# local", "1", "# end local", "x", "# local", "2", "# end local")
    assert merge(new, mine, [LOCAL]) == expected


def test_regions_of_different_markers_may_stand_in_another_order() -> None:
    new = text("; mine", "a", "; end mine", "# local", "b", "# end local")
    mine = text("# local", "1", "# end local", "; mine", "2", "; end mine")
    expected = text("; mine", "2", "; end mine", "# local", "1", "# end local")
    assert merge(new, mine, [LOCAL, OTHER]) == expected


def test_equal_markers_switch_on_and_off() -> None:
    fence = Keep(PATH, "####", "####")
    new, mine = text("####", "a", "####", "b"), text("####", "1", "####", "2")
    assert merge(new, mine, [fence]) == text("####", "1", "####", "b")


def test_without_an_end_marker_all_that_follows_is_kept() -> None:
    new, mine = text("a", "# from here on", "b"), b"1\n# from here on\n2"
    assert merge(new, mine, [TAIL]) == b"a\n# from here on\n2"


def test_a_last_line_without_newline_does_not_swallow_the_next() -> None:
    new = text("# local", "a", "# end local", "b")
    assert merge(new, b"# local\n1\n# end local", [LOCAL]) == text(
        "# local", "1", "# end local", "b"
    )


def test_bytes_that_are_no_text_and_carriage_returns_stay() -> None:
    new = b"\xff\r\n# local\r\na\n# end local\r\n\x0c\x85 b\r"
    mine = b"# local\r\n\xfe\r\x0b\n# end local\r\n"
    expected = b"\xff\r\n# local\r\n\xfe\r\x0b\n# end local\r\n\x0c\x85 b\r"
    assert merge(new, mine, [LOCAL]) == expected


def test_what_is_kept_is_told_where_it_is_missing() -> None:
    whole, none = text("# local", "# end local"), text("nothing")
    assert 'no line with "# local" in the file on this node' in refused(whole, none, LOCAL)
    assert 'no line with "# local" in the file that arrives' in refused(none, whole, LOCAL)
    assert refused(none, none, LOCAL).startswith(
        f'{PATH}: no line with "# local" in the file that arrives, nor in the file on this node'
    )


def test_a_different_number_of_regions_is_refused() -> None:
    one = text("# local", "# end local")
    assert "begins 2 regions in the file that arrives, 1 in" in refused(one + one, one, LOCAL)


def test_a_region_without_its_end_is_refused() -> None:
    whole = text("# local", "# end local")
    said = refused(text("x", "# local", "a"), whole, LOCAL)
    assert "kept from line 2 of the file that arrives on has no end" in said
    assert 'a line with "# end local" must end it' in said
    assert "of the file on this node" in refused(whole, text("# local"), LOCAL)


def test_regions_within_each_other_are_refused() -> None:
    nested = text("# local", "; mine", "; end mine", "# end local")
    said = refused(nested, nested, LOCAL, OTHER)
    assert "line 2 of the file that arrives" in said
    assert "began in line 1" in said
    assert "nothing can begin there" in refused(
        text("# from here on", "# local"), nested, TAIL, LOCAL
    )


def test_which_keeps_are_of_a_file() -> None:
    whole = Keep("/etc/hostname")
    keeps = (LOCAL, whole, Keep("/etc/other", "x", "y"))
    assert kept_whole("/etc/hostname", keeps)
    assert not kept_whole(PATH, keeps)
    assert marked(PATH, keeps) == (LOCAL,)
    assert marked("/etc/hostname", keeps) == ()
