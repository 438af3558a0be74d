"""Reads a document's ```console blocks: what is typed on which machine, and what has to come.

`fw1# command` is typed on fw1, `both# command` on fw1 and fw2 at once; what follows is what it
prints, with the answers where it asks. `...` stands for anything, in a line or for lines. Values
that are others each time (VARIES) match any of their kind, and where a code of pairing is typed, it
is the one that was really shown. Words after ```console, which no reader sees:

stays          the command goes on; what is shown has come
continues fw1  what comes then from the command that stays on fw1
now            of that, only what comes from now on
exit=1         the command ends with 1, not 0
example        not executed
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

FENCE = re.compile(r"^( *)```(\w*)(.*)$")
PROMPT = re.compile(r"^(client|server|both|fw1|fw2|host)[#$] (.+)$")
CODE = r"[0-9A-Z]{4,6}(?:-[0-9A-Z]{1,6}){2,}"  # of pairing
VARIES = (  # each time another value of the same kind
    CODE,
    r"\d\d:\d\d:\d\d(?:\.\d+)?",
    r"\d{4}-\d\d-\d\d",
    r"\d+(?:\.\d+)? (?:ms|s|min|h)\b",
    r"SHA256:[^ ]+|[0-9a-f]{2}(?::[0-9a-f]{2}){7,}|[0-9a-f]{16,}",
    r"(?<=carpool \()\d+\.\d+\.\d+[^)]*",
    r"(?<=carpool )\d+\.\d+\.\d+[^ ]*",
)
_TOKEN = re.compile("|".join((r"(?P<dots>\.\.\.)", r"(?P<blank>[ \t]+)", *VARIES)))


@dataclass(frozen=True, slots=True)
class Shown:
    """A line of output, and where it is in the document."""

    text: str
    line: int


@dataclass(slots=True)
class Step:
    """A command and its output; without a command what comes next from one that stays."""

    path: Path
    line: int
    node: str
    command: str
    words: tuple[str, ...] = ()
    output: list[Shown] = field(default_factory=list)

    @property
    def stays(self) -> bool:
        return "stays" in self.words

    @property
    def exit_code(self) -> int:
        found = [word.removeprefix("exit=") for word in self.words if word.startswith("exit=")]
        return int(found[0]) if found else 0


@dataclass(frozen=True, slots=True)
class Block:
    """What stands between two fences."""

    line: int  # of its first line
    kind: str
    words: tuple[str, ...]
    lines: list[str]


class Different(AssertionError):
    """What came is not what the document shows."""

    def __init__(self, path: Path, line: int, expected: str, found: str, came: str) -> None:
        super().__init__(
            f"{path}:{line}\nexpected  {expected}\nfound     {found}\n\nall that came:\n{came}"
        )


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a Markdown document."""
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        fence = FENCE.match(lines[number])
        number += 1
        if fence is None:
            continue
        begin, indent = number, len(fence[1])
        while number < len(lines) and lines[number].strip() != "```":
            number += 1
        yield Block(
            begin + 1,
            fence[2],
            tuple(fence[3].split()),
            [line[indent:] for line in lines[begin:number]],
        )
        number += 1


def steps(path: Path) -> list[Step]:
    """All that is to be done, in its order. ValueError for a block that says not where."""
    found: list[Step] = []
    for block in blocks(path.read_text(encoding="utf-8")):
        if block.kind != "console" or "example" in block.words:
            continue
        step: Step | None = None
        if "continues" in block.words:
            node = block.words[block.words.index("continues") + 1]
            step = Step(path, block.line, node, "", block.words)
            found.append(step)
        for number, line in enumerate(block.lines, block.line):
            if prompt := PROMPT.match(line):
                step = Step(path, number, prompt[1], prompt[2], block.words)
                found.append(step)
            elif step is None:
                raise ValueError(f"{path}:{number}: found {line!r}, expected a prompt: fw1# ...")
            else:
                step.output.append(Shown(line, number))
    return found


def pattern(text: str) -> str:
    """What a line may be instead: blanks of any number, `...`, and what varies."""
    parts, at = [], 0
    for match in _TOKEN.finditer(text):
        parts.append(re.escape(text[at : match.start()]))
        at = match.end()
        if match["dots"]:
            parts.append(".*")
        elif match["blank"]:
            parts.append(r"[ \t]+")
        else:
            kind = next(one for one in VARIES if re.compile(one).match(text, match.start()))
            parts.append(f"(?:{kind})")
    return "".join(parts) + re.escape(text[at:])


def whole(output: list[Shown], *, more: bool) -> re.Pattern[str]:
    """All lines of an output; `more`: others may follow."""
    text = "".join(
        r"(?:.*\n)*?" if one.text.strip() == "..." else rf"{pattern(one.text.rstrip())}[ \t]*\n"
        for one in output
    )
    return re.compile(text if more else text + r"\Z")


def cleaned(text: str) -> str:
    """What a terminal shows of it in the end: no colours, and no lines that were written over."""
    text = re.sub(r"\x1b7.*?\x1b8", "", text, flags=re.DOTALL)  # a bar at the lower edge
    text = re.sub(r"\x1b(\[[0-9;?]*[A-Za-z]|.)", "", text).replace("\r\n", "\n")
    return "".join(line.rpartition("\r")[2] for line in text.splitlines(keepends=True))


def compare(step: Step, found: str) -> None:
    """Raises Different, with the first line that did not come."""
    found = found if found.endswith("\n") or not found else found + "\n"
    if whole(step.output, more=step.stays).match(found):
        return
    wrong, rest = Shown("(nothing more)", step.line), found
    for number in range(1, len(step.output) + 1):
        match = whole(step.output[:number], more=True).match(found)
        if match is None:
            wrong = step.output[number - 1]
            break
        rest, wrong = found[match.end() :], Shown("(nothing more)", step.output[number - 1].line)
    came = (rest.splitlines() or ["(nothing more)"])[0]
    raise Different(step.path, wrong.line, wrong.text, came, found)


def codes(shown: str, came: str) -> dict[str, str]:
    """By the codes that a document shows, those that really came in their places."""
    ours, theirs = re.findall(CODE, shown), re.findall(CODE, came)
    return dict(zip(ours, theirs, strict=True)) if len(ours) == len(theirs) else {}


def answer(step: Step, asked: str, at: int) -> tuple[int, str] | None:
    """The line of an output, from number `at` on, that asks this, and what is typed there."""
    for number in range(at, len(step.output)):
        text = step.output[number].text
        for colon in re.finditer(r": ?", text):
            question = text[: colon.end()].rstrip()
            if re.fullmatch(pattern(question) + r"[ \t]*", asked.strip()):
                return number, text[colon.end() :].strip()
    return None
