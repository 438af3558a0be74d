"""A file of kernel settings for the next boots: what `carpool doctor --fix` has put right.

Room: kernel. Reads and replaces its own file of /etc/sysctl.d (sysctl.d(5)), whole or not at all;
refuses to know what a setting is for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from carpool.errors import KernelError
from carpool.model.diagnosis import Setting

NAME = "90-carpool.conf"
DIRECTORY = "etc/sysctl.d"
_HEAD = "# Written by `carpool doctor --fix`: one line for each setting. Yours to change.\n"


def path_below(root: Path) -> Path:
    return root / DIRECTORY / NAME


def remember(path: Path, settings: Iterable[Setting]) -> None:
    """Add these; what the file says otherwise stays. Raises KernelError."""
    wanted = {setting.key: f"{setting.key} = {setting.value}\n" for setting in settings}
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else _HEAD
        kept = [line for line in before.splitlines(keepends=True) if _key(line) not in wanted]
        if kept and not kept[-1].endswith("\n"):
            kept[-1] += "\n"
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_text("".join([*kept, *wanted.values()]), encoding="utf-8")
        os.replace(fresh, path)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise KernelError(
            f"write {path}: {why}", hint="run as root; the settings are given as commands, too"
        ) from error


def _key(line: str) -> str:
    """In the spelling with slashes; empty for a comment. A dot in ours is a device's."""
    if line.lstrip().startswith(("#", ";")):
        return ""
    key = line.partition("=")[0].strip().removeprefix("-")
    return key if "/" in key else key.replace(".", "/")
