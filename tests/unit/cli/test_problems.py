"""Problems on a terminal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from carpool.cli.problems import counted, told
from carpool.model.config import Problem

PROBLEM = Problem("group.toml", "vip[0].vhid", "256", "1 to 255", "take another", line=6)


def test_a_problem_names_file_and_line_as_editors_jump_to_it() -> None:
    assert told(PROBLEM, Path("/etc/carpool")) == (
        "error: /etc/carpool/group.toml:6: vip[0].vhid\n"
        "    found 256, expected 1 to 255\n"
        "    take another"
    )


def test_what_is_not_known_is_left_out() -> None:
    problem = replace(PROBLEM, line=None, hint="", fatal=False)
    assert told(problem, Path("etc")) == (
        "warning: etc/group.toml: vip[0].vhid\n    found 256, expected 1 to 255"
    )


def test_counts() -> None:
    warning = replace(PROBLEM, fatal=False)
    assert counted([]) == "no problem"
    assert counted([PROBLEM]) == "1 error"
    assert counted([warning, warning]) == "2 warnings"
    assert counted([PROBLEM, PROBLEM, warning]) == "2 errors and 1 warning"
