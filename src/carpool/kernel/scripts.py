"""Which files of a directory the agent may run as root, and why not the others.

Room: kernel. Looks; refuses to run any.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from carpool.model.scripts import NAME_RULE, Flaw, is_script_name

FILES_MAX = 64  # of one directory: each is a process at a failover
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def scan(directory: Path) -> tuple[list[str], list[Flaw]]:
    """Names of those that can be run, in order, and what is wrong with the others. Files that begin
    with a dot, and README, are nobody's. A directory that is not there has none."""
    try:
        names = sorted(os.listdir(directory))
        flaw = _trust("", directory.stat(), str(directory))
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [Flaw("", f"{error.strerror}", "a directory", f"look at {directory}")]
    if flaw is not None:
        return [], [flaw]
    good: list[str] = []
    flaws: list[Flaw] = []
    for name in names:
        if name.startswith(".") or name == "README":
            continue
        wrong = _flaw(directory / name)
        if wrong is None and len(good) == FILES_MAX:
            found = "one file more"
            wrong = Flaw(name, found, f"{FILES_MAX} files at most", "put some of them together")
        if wrong is None:
            good.append(name)
        else:
            flaws.append(wrong)
    return good, flaws


def _flaw(path: Path) -> Flaw | None:
    name = path.name
    if not is_script_name(name):
        hint = "give it another name, without a dot, or take it away"
        return Flaw(name, "a name that is none of a script", NAME_RULE, hint)
    try:
        found = path.stat()
    except OSError as error:
        return Flaw(name, f"{error.strerror}", "a file", f"look at {path}")
    if not stat.S_ISREG(found.st_mode):
        return Flaw(name, "no file", "a file", f"take {path} away")
    untrusted = _trust(name, found, str(path))
    if untrusted is not None:
        return untrusted
    if not found.st_mode & stat.S_IXUSR:
        mode = f"mode {stat.S_IMODE(found.st_mode):04o}"
        hint = f"chmod u+x {path}, or take it away"
        return Flaw(name, mode, "an executable file", hint)
    return None


def _trust(name: str, found: os.stat_result, path: str) -> Flaw | None:
    """Whoever may write it is root. Where we are not root, whoever we are."""
    if found.st_uid not in (0, os.geteuid()):
        return Flaw(name, f"owner {found.st_uid}", "owner root", f"chown root {path}")
    if found.st_mode & _OTHERS:
        mode = f"mode {stat.S_IMODE(found.st_mode):04o}"
        expected = "nobody but its owner may write it"
        return Flaw(name, mode, expected, f"chmod go-w {path}: it is run as root")
    return None
