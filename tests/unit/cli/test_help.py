"""`carpool help`: pages by the real `man`, and what is shown where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from carpool.cli.main import VERBS
from carpool.errors import EXIT_FAILED, EXIT_OK


def told(*words: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """What it prints into a pipe; `path`: where programs are looked for."""
    return subprocess.run(
        [sys.executable, "-m", "carpool", "help", *words],
        env={**os.environ, "MANWIDTH": "80", **({"PATH": str(path)} if path else {})},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ([], "CARPOOL(8)"),
        (["states"], "CARPOOL-STATES(8)"),
        (["help"], "CARPOOL-HELP(8)"),
        (["group.toml"], "GROUP.TOML(5)"),
    ],
)
def test_the_page_is_shown(words: list[str], page: str) -> None:
    if shutil.which("man") is None:
        pytest.skip("needs man-db")
    done = told(*words)
    assert (done.returncode, done.stderr) == (EXIT_OK, "")
    assert done.stdout.startswith(page) and "SEE ALSO" in done.stdout


def test_without_man_the_help_of_the_command_line_is_shown(tmp_path: Path) -> None:
    done = told("states", path=tmp_path)
    assert (done.returncode, done.stderr) == (EXIT_OK, "")
    assert done.stdout.startswith("usage: carpool states") and "verify" in done.stdout
    everything = told(path=tmp_path).stdout
    assert [verb for verb in VERBS if verb not in everything] == []
    done = told("group.toml", path=tmp_path)
    assert done.returncode == EXIT_FAILED
    assert "install man-db, or read " in done.stderr and "group.toml.5" in done.stderr


def test_what_is_no_verb_is_told() -> None:
    done = told("../node.toml")
    assert (done.returncode, done.stdout) == (EXIT_FAILED, "")
    assert "it is no verb" in done.stderr and "`carpool --help`" in done.stderr
