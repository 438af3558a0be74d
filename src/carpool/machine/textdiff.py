"""What changes in a file, for people: unified as diff(1) writes it, so that patch(1) takes it.

Room: machine. Pure. Refuses to show what is secret or no text. It keeps control characters, as
patch(1) needs them: who prints must make them harmless.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from carpool.machine.mask import masked
from carpool.model.keypath import quoted

DIFFERS = "differs"  # all that is said of a secret or binary file
_BINARY_LOOK_BYTES = 8192  # a NUL in the first 8 KiB, as git(1) judges
SHOWN_MAX_BYTES = 1 << 20
SHOWN_MAX_LINES = 2000
# Pairs of equal lines that are weighed against each other; beyond, it takes seconds and more, and
# the whole stretch is shown as replaced.
_PAIRS_MAX = 100_000

_Tag = Literal["replace", "delete", "insert", "equal"]
_Opcode = tuple[_Tag, int, int, int, int]  # tag, old from and to, new from and to; as difflib


@dataclass(frozen=True, slots=True)
class FileDiff:
    """`text` is empty where the content is the same. A text that was cut says so in its last line,
    and `added` and `removed` still count all; they are 0 where only DIFFERS is said."""

    path: str
    text: str
    binary: bool
    secret: bool
    added: int  # lines
    removed: int


def unified(
    path: str,
    old: bytes | None,
    new: bytes | None,
    *,
    secret: bool,
    passwords: bool = False,
    context: int = 3,
) -> FileDiff:
    """From `old` to `new`; None: there is no such file. With `passwords` these alone are secret, if
    it can be told where they end (`mask.py`)."""
    if old == new:
        return FileDiff(path, "", False, secret, 0, 0)
    if secret and not passwords:
        return FileDiff(path, DIFFERS, False, True, 0, 0)
    before, after = _lines(old or b""), _lines(new or b"")
    if before is None or after is None:
        return FileDiff(path, DIFFERS, True, False, 0, 0)
    sizes = len(old or b""), len(new or b"")
    if max(sizes) > SHOWN_MAX_BYTES:
        text = f"{DIFFERS}: {sizes[0]} bytes become {sizes[1]}, too many to be shown\n"
        return FileDiff(path, text, False, False, 0, 0)
    opcodes = list(_opcodes(before, after))
    if passwords:
        shown_lines = masked(before, after)
        if shown_lines is None:
            return FileDiff(path, DIFFERS, False, True, 0, 0)
        before, after = shown_lines
    name = path if path.isprintable() else quoted(path)
    shown = [
        f"--- {'/dev/null' if old is None else name}\n",
        f"+++ {'/dev/null' if new is None else name}\n",
    ]
    for group in _groups(opcodes, context):
        shown += _hunk(group, before, after)
    if len(shown) > SHOWN_MAX_LINES:
        rest = len(shown) - SHOWN_MAX_LINES
        shown[SHOWN_MAX_LINES:] = [f"... and {rest} more lines\n"]
    changed = [code for code in opcodes if code[0] != "equal"]
    added, removed = sum(c[4] - c[3] for c in changed), sum(c[2] - c[1] for c in changed)
    return FileDiff(path, "".join(shown), False, False, added, removed)


def is_binary(content: bytes) -> bool:
    return b"\0" in content[:_BINARY_LOOK_BYTES]


def _lines(content: bytes) -> list[str] | None:
    """With their ends, only "\\n" being one; None if it is no text."""
    if is_binary(content):
        return None
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    lines = [line + "\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _opcodes(old: Sequence[str], new: Sequence[str]) -> Iterator[_Opcode]:
    """All of both, in order. What is the same at both ends is not weighed: large files mostly
    differ in a few lines."""
    short = min(len(old), len(new))
    head = next((i for i in range(short) if old[i] != new[i]), short)
    rest = short - head
    tail = next((i for i in range(rest) if old[-1 - i] != new[-1 - i]), rest)
    if head:
        yield "equal", 0, head, 0, head
    old_end, new_end = len(old) - tail, len(new) - tail
    a_lines, b_lines = old[head:old_end], new[head:new_end]
    if _pairs(a_lines, b_lines) > _PAIRS_MAX:
        yield "replace", head, old_end, head, new_end
    else:
        for tag, a, b, c, d in SequenceMatcher(None, a_lines, b_lines).get_opcodes():
            yield tag, a + head, b + head, c + head, d + head
    if tail:
        yield "equal", old_end, len(old), new_end, len(new)


def _pairs(old: Sequence[str], new: Sequence[str]) -> int:
    """Of equal lines, as difflib weighs them: it leaves out those that are popular in `new`."""
    counts = Counter(new)
    popular = len(new) // 100 + 1 if len(new) >= 200 else len(new)
    return sum(counts[line] for line in old if counts[line] <= popular)


def _groups(opcodes: Sequence[_Opcode], context: int) -> Iterator[list[_Opcode]]:
    """Changes that lie near each other, with `context` equal lines around and at most twice as
    many between them."""
    group: list[_Opcode] = []
    for tag, a, b, c, d in opcodes:
        if tag != "equal":
            group.append((tag, a, b, c, d))
            continue
        if any(code[0] != "equal" for code in group):
            if b - a <= 2 * context:
                group.append((tag, a, b, c, d))
                continue
            yield [*group, (tag, a, a + context, c, c + context)]
        start = max(a, b - context)
        group = [(tag, start, b, c + start - a, d)]
    if any(code[0] != "equal" for code in group):
        if group[-1][0] == "equal":
            tag, a, b, c, d = group[-1]
            keep = min(b - a, context)
            group[-1] = (tag, a, a + keep, c, c + keep)
        yield group


def _hunk(group: Sequence[_Opcode], old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    first, last = group[0], group[-1]
    yield f"@@ -{_range(first[1], last[2])} +{_range(first[3], last[4])} @@\n"
    for tag, a, b, c, d in group:
        if tag == "equal":
            yield from (_written(" ", line) for line in old[a:b])
            continue
        yield from (_written("-", line) for line in old[a:b])
        yield from (_written("+", line) for line in new[c:d])


def _written(mark: str, line: str) -> str:
    end = "" if line.endswith("\n") else "\n\\ No newline at end of file\n"
    return mark + line + end


def _range(start: int, stop: int) -> str:
    """`line,count` with lines from 1; an empty one names the line before it, as POSIX says."""
    count = stop - start
    if count == 1:
        return str(start + 1)
    return f"{start + 1 if count else start},{count}"
