"""Diffs as people read them and as patch(1) takes them."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.machine.textdiff import DIFFERS, SHOWN_MAX_BYTES, SHOWN_MAX_LINES, FileDiff, unified

PATH = "/etc/service.conf"
LINES = st.lists(st.sampled_from(["a", "b", "c", "", " x", "\\ No", "-d", "+e", "@@", "ä"]))
CONTENT = st.tuples(LINES, st.booleans()).map(
    lambda parts: ("\n".join(parts[0]) + ("\n" if parts[1] and parts[0] else "")).encode()
)


def diff(old: bytes | None, new: bytes | None, *, secret: bool = False) -> FileDiff:
    return unified(PATH, old, new, secret=secret)


def numbered(count: int) -> list[str]:
    return [f"line {number}\n" for number in range(1, count + 1)]


def test_a_changed_line_with_its_surroundings() -> None:
    lines = numbered(20)
    new = [*lines[:9], "changed\n", *lines[10:]]
    found = diff("".join(lines).encode(), "".join(new).encode())
    assert found.text.splitlines() == [
        f"--- {PATH}",
        f"+++ {PATH}",
        "@@ -7,7 +7,7 @@",
        " line 7",
        " line 8",
        " line 9",
        "-line 10",
        "+changed",
        " line 11",
        " line 12",
        " line 13",
    ]
    assert (found.added, found.removed, found.binary, found.secret) == (1, 1, False, False)


def test_nothing_changes() -> None:
    assert diff(b"a", b"a", secret=True) == FileDiff(PATH, "", False, True, 0, 0)
    assert diff(None, None).text == ""


def test_a_file_that_comes_and_one_that_goes() -> None:
    assert diff(None, b"a\n").text == f"--- /dev/null\n+++ {PATH}\n@@ -0,0 +1 @@\n+a\n"
    assert diff(b"a\n", None).text == f"--- {PATH}\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n"


def test_a_missing_newline_at_the_end_is_noted() -> None:
    assert diff(b"a", b"a\n").text.splitlines()[2:] == [
        "@@ -1 +1 @@",
        "-a",
        "\\ No newline at end of file",
        "+a",
    ]


@pytest.mark.parametrize("binary", [b"\0", b"x" * 8191 + b"\0", b"\xff\xfe", b"\xc3"])
def test_what_is_no_text_is_not_shown(binary: bytes) -> None:
    found = diff(b"text\n", binary)
    assert (found.text, found.binary) == (DIFFERS, True)
    assert diff(binary, b"text\n").binary


def test_a_secret_is_not_shown() -> None:
    found = diff(b"key = abc\n", b"key = def\n", secret=True)
    assert found == FileDiff(PATH, DIFFERS, False, True, 0, 0)
    assert diff(None, b"key = abc\n", secret=True).text == DIFFERS


def test_a_large_file_is_not_shown() -> None:
    found = diff(b"a\n", b"a\n" * (SHOWN_MAX_BYTES // 2 + 1))
    assert found.text == "differs: 2 bytes become 1048578, too many to be shown\n"


def test_a_long_diff_is_cut_and_says_so() -> None:
    found = diff(None, "".join(numbered(5000)).encode())
    lines = found.text.splitlines()
    assert len(lines) == SHOWN_MAX_LINES + 1
    assert lines[-1] == "... and 3003 more lines"
    assert found.added == 5000


def test_a_name_with_a_line_break_makes_no_line_of_its_own() -> None:
    text = unified("/etc/a\n+++ /etc/shadow", b"a\n", b"b\n", secret=False).text
    assert text.splitlines()[0] == '--- "/etc/a\\n+++ /etc/shadow"'


@pytest.mark.parametrize("shift", [1, 7])
def test_files_made_to_be_hard_take_no_time(shift: int) -> None:
    """Each line occurs so often that it is weighed, and nothing fits for long."""
    old = "".join(f"{number * number % 211}\n" for number in range(60_000)).encode()
    new = "".join(f"{number * (number + shift) % 211}\n" for number in range(60_000)).encode()
    begun = time.thread_time()
    found = diff(old, new)
    assert time.thread_time() - begun < 10  # a tenth of a second; minutes without the bound
    assert found.added == found.removed > 0


@settings(max_examples=40)
@given(old=CONTENT, new=CONTENT, context=st.integers(0, 3))
def test_patch_makes_the_new_from_the_old(old: bytes, new: bytes, context: int) -> None:
    applied(old, new, context)


def test_patch_takes_hunks_far_apart_and_near() -> None:
    lines = numbered(60)
    for where in ((0,), (59,), (0, 59), (10, 17), (10, 18), (10, 16, 40)):
        new = list(lines)
        for index in where:
            new[index] = "changed\n"
        del new[30]
        applied("".join(lines).encode(), "".join(new).encode(), 3)


def applied(old: bytes, new: bytes, context: int) -> None:
    text = unified("file", old, new, secret=False, context=context).text
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "file")
        file.write_bytes(old)
        run = subprocess.run(
            ["patch", "--silent", "--binary", "--unified", "--fuzz=0", str(file)],
            input=text.encode(),
            capture_output=True,
            timeout=10,
            check=False,
        )
        assert run.returncode == 0 or not text, (run.stdout, text)
        assert (file.read_bytes() if file.exists() else b"") == new
