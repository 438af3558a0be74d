"""What is wrong with the files of hooks.d and checks.d, as problems of the configuration.

Room: api. `carpool check` tells them; the agent tells them when it comes across one.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from carpool.kernel.scripts import scan
from carpool.model.config import Config, Problem
from carpool.model.finding import GROUP_FILE, closest
from carpool.model.keypath import render
from carpool.model.scripts import CHECKS_DIR, HOOKS_DIR


def script_problems(config: Config, config_dir: Path) -> list[Problem]:
    """Files that would not be run, and tables of group.toml about files that are not there; none is
    fatal."""
    return [
        *_of(config_dir / HOOKS_DIR, "hooks", config.group.hooks.named),
        *_of(config_dir / CHECKS_DIR, "checks", config.group.checks.named),
    ]


def _of(directory: Path, key: str, tables: Iterable[str]) -> list[Problem]:
    names, flaws = scan(directory)
    problems = [
        Problem(
            f"{directory.name}/{one.name}".rstrip("/"),
            "file",
            one.found,
            one.expected,
            one.hint,
            fatal=False,
        )
        for one in flaws
    ]
    for name in tables:
        if name not in names:
            found, expected = "no such file", f"an executable {directory}/{name}"
            hint = closest(name, names)
            where = render((key, name))
            problems.append(Problem(GROUP_FILE, where, found, expected, hint, fatal=False))
    return problems
