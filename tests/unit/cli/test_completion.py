"""Completion: every verb and option is there, and the shells understand what is written."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from carpool.cli.completion import SHELLS, bash
from carpool.cli.main import VERBS

ASK = """source /dev/stdin
COMP_WORDS=({words}) COMP_CWORD=$(({count} - 1))
_carpool
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def offered(*words: str) -> list[str]:
    """What bash offers for the last of these words."""
    said = ASK.format(words=" ".join(f"'{word}'" for word in words), count=len(words))
    done = subprocess.run(
        ["bash", "--norc", "-c", said],
        input=bash(),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout.split()


def test_bash_offers_verbs_their_verbs_and_their_options() -> None:
    assert set(VERBS) <= set(offered("carpool", ""))
    assert offered("carpool", "swi") == ["switchover"]
    assert {"on", "off"} <= set(offered("carpool", "maintenance", ""))
    assert offered("carpool", "--run-dir", "/x", "states", "ver") == ["verify"]
    assert offered("carpool", "states", "verify", "--tim") == ["--timeout"]
    assert "--dry-run" in offered("carpool", "sync", "nftables", "--")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_reads_it(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    argv = [shell, "--no-execute"] if shell == "fish" else [shell, "-n"]
    done = subprocess.run(
        argv, input=SHELLS[shell](), capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
