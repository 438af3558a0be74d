"""Nothing that others wrote steers a terminal."""

from __future__ import annotations

from carpool.api.clean import clean, clean_lines, complaint
from carpool.errors import CarpoolError

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31mfw2: all is well\x7f\u202e\udcff"


def test_only_what_can_be_printed_is_left() -> None:
    assert clean("nft: größer") == "nft: größer"
    assert clean(HOSTILE) == "?]0;owned??[2J?31mfw2: all is well???"
    assert clean("a\nb") == "a?b"


def test_lines_stay_lines() -> None:
    assert clean_lines("a\n\tb\x1b[1m\nc") == "a\n          b?[1m\n  c"
    assert clean_lines("") == ""


def test_a_complaint_is_cleaned_whole() -> None:
    told = complaint(CarpoolError(f"fw2: no\nroom {HOSTILE}", hint=f"say\n--force {HOSTILE}"))
    assert all(line.isprintable() for line in told.splitlines())
    assert told.splitlines()[0] == "carpool: fw2: no"
    assert [line[:9] for line in told.splitlines()[1:]] == [" " * 9] * 3
    assert "--force ?]0;owned" in told
    assert complaint(CarpoolError("it failed")) == "carpool: it failed"
