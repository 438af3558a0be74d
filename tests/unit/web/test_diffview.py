"""A diff for a page: bounded, harmless, and nothing secret."""

from __future__ import annotations

from typing import Any

from carpool.web.diffview import (
    ALL_LINES_MAX,
    FILES_MAX,
    LINE_MAX,
    LINES_MAX,
    peers_of,
    sections_of,
)

TEXT = "--- /etc/web.conf\n+++ /etc/web.conf\n@@ -1,2 +1,2 @@\n-good 0\n+good 1\n same\n"


def file(**fields: object) -> dict[str, Any]:
    one = {"path": "/etc/web.conf", "deed": "changed", "text": TEXT, "attributes": ""}
    return {**one, "secret": False, "binary": False, **fields}


def section(*files: dict[str, Any], **fields: object) -> dict[str, Any]:
    return {"name": "web", "files": [*files], **fields}


def lines(text: str) -> list[tuple[str, str]]:
    ((one,),) = [found.files for found in sections_of([section(file(text=text))])]
    return [(line.kind, line.text) for line in one.lines]


def test_each_line_has_its_sign_and_its_kind() -> None:
    assert lines(TEXT) == [
        ("place", "@@ -1,2 +1,2 @@"),
        ("del", "-good 0"),
        ("add", "+good 1"),
        ("", " same"),
    ]


def test_a_line_steers_nothing_and_is_cut() -> None:
    ((kind, text),) = lines("+a\x1b[2J\tb\u202e\n")
    assert (kind, text) == ("add", "+a?[2J    b?")
    ((_, text),) = lines("+" + "x" * 10_000 + "\n")
    assert len(text) == LINE_MAX + len("...")


def test_secret_and_binary_files_show_no_line() -> None:
    (found,) = sections_of(
        [section(file(secret=True, text="differs"), file(binary=True, text="differs"))]
    )
    assert [(one.hidden, one.lines) for one in found.files] == [
        ("secret: not shown", []),
        ("binary: not shown", []),
    ]
    (found,) = sections_of([section(file(secret=True))])  # its passwords alone are masked
    assert found.files[0].hidden == "" and found.files[0].lines


def test_a_page_takes_so_many_lines_and_says_how_many_there_are_more() -> None:
    long = file(text="+x\n" * (LINES_MAX + 5))
    (found,) = sections_of([section(*[long] * (FILES_MAX + 3))])
    assert len(found.files) == FILES_MAX and found.more == 3
    assert (len(found.files[0].lines), found.files[0].more) == (LINES_MAX, 5)
    assert sum(len(one.lines) for one in found.files) == ALL_LINES_MAX
    assert found.files[-1].more == LINES_MAX + 5


def test_a_peer_says_what_would_change_or_why_that_is_not_known() -> None:
    answer = {
        "peers": {
            "fw2": {
                "sections": [
                    section(file(), checks=["sh -c x"], services=["reload webd"]),
                    section(),
                ],
                "warnings": ["changed \x07there"],
            },
            "fw3": {"error": "fw3: no answer", "hint": "look"},
            "fw4": 7,
        }
    }
    good, bad, odd = peers_of(answer)
    assert (good.same, len(good.sections), good.warnings) == (1, 1, ["changed ?there"])
    assert good.sections[0].then == ["would check: sh -c x", "would reload webd"]
    assert (bad.error, bad.hint) == ("no answer", "look")
    assert (odd.error, odd.sections, odd.same) == ("", [], 0)
    assert peers_of({"peers": []}) == []
