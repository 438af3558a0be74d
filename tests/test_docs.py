"""What documents say, as far as it can be held against the code without a machine."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from carpool.cli.main import build_parser
from tests.guide import PROMPT, Different, blocks, compare, steps

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
GUIDE = ROOT / "docs" / "quick-start.md"
LINK = re.compile(r"(?<!!)\[[^\]\[]*\]\(([^)\s]+)\)")
NAMED = re.compile(r"`((?:src/carpool|docs|script|packaging|tests)/[\w./-]+)`")
COMMAND = re.compile(r"^(?:\w+[#$] |\$ |# )?(carpool (?!.*: ).+)$")
SHELLS = ("", "sh", "console", "bash")


def commands(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of fenced blocks in which `carpool` is said, alone or in a row of commands."""
    for block in blocks(path.read_text(encoding="utf-8")):
        for number, line in enumerate(block.lines, block.line):
            typed = PROMPT.match(line) or COMMAND.match(line)
            if block.kind in SHELLS and typed is not None:
                text = re.split(r"  +|\s#\s|\s#$", typed[typed.re.groups])[0]
                for part in re.split(r"[|;&]+", text):
                    if part.split()[:1] == ["carpool"]:
                        yield number, part.strip()


def complaint(words: list[str]) -> str:
    """Why carpool does not take this command line; "" if it does."""
    with contextlib.redirect_stderr(io.StringIO()) as told, contextlib.redirect_stdout(told):
        try:
            build_parser(words).parse_args(words)
        except SystemExit as end:
            return told.getvalue() if end.code else ""
    inner = words[words.index("exec") + 2 :] if words[:2] == ["lab", "exec"] else []
    return complaint(inner[1:]) if inner[:1] == ["carpool"] else ""


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_each_command_line_in_a_document_is_one_that_carpool_takes(path: Path) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {text}: {why}"
        for number, text in commands(path)
        if (why := complaint(shlex.split(text.replace("[", "").replace("]", ""))[1:]))
    ]
    assert not wrong, "\n".join(wrong)


def test_there_are_commands_to_look_at() -> None:
    assert sum(1 for path in DOCUMENTS for _ in commands(path)) > 50


def anchors(path: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def prose(path: Path) -> list[str]:
    """Its lines, those of fenced blocks empty."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for block in blocks("\n".join(lines)):
        for number in range(len(block.lines)):
            lines[block.line - 1 + number] = ""
    return lines


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere_and_files_that_are_named_are_there(path: Path) -> None:
    wrong = []
    for number, line in enumerate(prose(path), 1):
        for target in LINK.findall(re.sub(r"`[^`]*`", "", line)):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            file = (path.parent / name).resolve() if name else path
            if not file.exists():
                wrong.append(f"{path.relative_to(ROOT)}:{number}: {target}: no such file")
            elif anchor and anchor not in anchors(file):
                wrong.append(f"{path.relative_to(ROOT)}:{number}: {target}: no such heading")
        wrong += [
            f"{path.relative_to(ROOT)}:{number}: {name}: no such file"
            for name in NAMED.findall(line)
            if not (ROOT / name).exists()
        ]
    assert not wrong, "\n".join(wrong)


# --------------------------------------------------------------------- the guide and its reader


def test_the_quick_start_says_of_every_block_where_it_is_typed() -> None:
    found = steps(GUIDE)
    assert {step.node for step in found} == {"both", "client", "fw1", "fw2", "host", "server"}
    assert sum(bool(step.output) for step in found) > 10


def document(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "guide.md"
    path.write_text(f"# A guide\n\n```console\n{text}```\n")
    return path


def test_a_line_that_is_another_is_told_with_its_place(tmp_path: Path) -> None:
    path = document(tmp_path, "fw1# carpool status\nfw1: master of all 2 VHIDs\n...\nin sync\n")
    (step,) = steps(path)
    compare(step, "fw1: master of all 2 VHIDs\nFOR 12 s\nin sync\n")
    with pytest.raises(Different) as wrong:
        compare(step, "fw1: backup, hearing 10.10.1.3\nFOR 12 s\nin sync\n")
    for text in (f"{path}:5\n", "master of all", "found     fw1: backup"):
        assert text in str(wrong.value)
    with pytest.raises(Different) as wrong:
        compare(step, "fw1: master of all 2 VHIDs\nFOR 12 s\n")
    assert f"{path}:7\nexpected  in sync" in str(wrong.value)
    with pytest.raises(Different, match="found     and more"):
        compare(step, "fw1: master of all 2 VHIDs\nin sync\nand more\n")


@pytest.mark.parametrize(
    ("shown", "came"),
    [
        ("after 12 ms fw1 is", "after 1776.5 ms fw1 is"),
        ("up 9 s   encrypted", "up 2 min encrypted"),
        ("21:04:15.431  51@lan", "03:59:01.001    51@lan"),
        ("code:  604NA-43TFJ-WAN9T", "code:  RG63T-Q1H8H-6YKE6"),
        ("fw2: equal ...", "fw2: equal   (1 here, 1 there)"),
    ],
)
def test_what_varies_may_be_another(shown: str, came: str, tmp_path: Path) -> None:
    (step,) = steps(document(tmp_path, f"fw1# try\n{shown}\n"))
    compare(step, f"{came}\r\n".replace("\r", ""))
    with pytest.raises(Different):
        compare(step, f"{came} and more\n" if "..." not in shown else "fw2: differs\n")
