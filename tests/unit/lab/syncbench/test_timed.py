"""A command is timed from outside, and its own words are kept."""

from __future__ import annotations

import sys

import pytest

from carpool.errors import CarpoolError
from carpool.lab.syncbench.timed import timed


def test_it_says_what_it_cost() -> None:
    work = "import time\nwhile time.process_time() < 0.2: pass\nprint('done')"
    took = timed([sys.executable, "-c", work])
    assert took.said == "done\n"
    assert 0.2 <= took.cpu_s
    assert took.seconds > 0


def test_a_failure_is_told_in_its_words() -> None:
    with pytest.raises(CarpoolError, match="no way"):
        timed([sys.executable, "-c", "raise SystemExit('no way')"])
