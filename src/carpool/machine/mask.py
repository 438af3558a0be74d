"""What of a group.toml people are shown: all of it but the values of `password`.

Room: machine. Pure. Lines in, as many lines out. In doubt it hides the line, and where a password
could go on in the next line (or the file is no TOML), all of it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence

HIDDEN = "(hidden)"

_WORD = "password"
# A key, quoted or not, and its value in quotes of one line: three of them begin a longer text.
_PAIR = re.compile(
    r"""((?<![\w-])(["']?)password\2[ \t]*=[ \t]*)(?:"([^"\\]*)"(?!")|'([^']*)'(?!'))"""
)
# With these, a key may be spelled so that no search finds it.
_ESCAPED = re.compile(r"\\[uUx]")


def masked(*versions: Sequence[str]) -> list[list[str]] | None:
    """The lines of each version of the file (with their ends) as they may be shown; a password of
    one version is in no line of another. None: nothing of them may be shown."""
    found: list[list[str]] = []
    secrets: set[str] = set()
    for lines in versions:
        text = "".join(lines)
        if _ESCAPED.search(text):
            return None
        try:
            passwords = set(_passwords(tomllib.loads(text)))
        except (tomllib.TOMLDecodeError, RecursionError):
            return None
        if not passwords <= {double or single for *_key, double, single in _PAIR.findall(text)}:
            return None  # what was taken for a pair is something else
        secrets |= passwords
        shown = [_masked(line) for line in lines]
        known = [line for line in shown if line is not None]
        if len(known) < len(shown):
            return None
        found.append(known)
    secrets.discard("")
    return [
        [_hidden(line) if any(secret in line for secret in secrets) else line for line in lines]
        for lines in found
    ]


def _masked(line: str) -> str | None:
    """None: nobody knows where the value ends."""
    if _WORD not in line.lower():
        return line
    if line.lstrip().startswith("#"):
        return _hidden(line)
    if _WORD in _PAIR.sub("", line).lower() or '"""' in line or "'''" in line:
        return None
    shown = _PAIR.sub(rf"\1{HIDDEN}", line)
    return _hidden(line) if "#" in shown or "\\" in line else shown  # the comment may tell of it


def _hidden(line: str) -> str:
    body = line.rstrip("\r\n")
    return body[: len(body) - len(body.lstrip())] + HIDDEN + line[len(body) :]


def _passwords(value: object, *, secret: bool = False) -> Iterator[str]:
    """All that stands below a key with that word."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _passwords(below, secret=secret or _WORD in key.lower())
    elif isinstance(value, list):
        for one in value:
            yield from _passwords(one, secret=secret)
    elif secret:
        yield str(value)
