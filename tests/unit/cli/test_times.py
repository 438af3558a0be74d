"""Times as people type them."""

from __future__ import annotations

import argparse

import pytest

from carpool.cli.times import CONFIRM_MAX_S, within


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30), ("30s", 30), ("5m", 300), ("24h", CONFIRM_MAX_S)]
)
def test_a_time_is_seconds_without_a_unit(text: str, seconds: int) -> None:
    assert within(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-1", "1.5m", "5 m", "5d", "25h", "9999999"])
def test_what_is_none_says_what_is_one(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected"):
        within(text)
