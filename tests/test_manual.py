"""The manual: a page for each verb, with all that its parser takes and nothing else."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from carpool.cli.main import DIRECTORIES, VERBS, build_parser

MAN = Path(__file__).parent.parent / "docs" / "man"
PAGES = sorted(MAN.iterdir())
SECTIONS = ["NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "EXAMPLES", "SEE ALSO", "BUGS"]
OF_A_FILE = ["NAME", "DESCRIPTION", "GRAMMAR", "KEYS", "FILES", "EXAMPLES", "SEE ALSO", "BUGS"]
EVERYWHERE = {"--help", "-h", *(option for option, *_ in DIRECTORIES)}  # carpool(8) has them
PROMPT = re.compile(r"^(?:(?:fw[12])?# )?(carpool .+)$")
NO_FLAG = re.compile(r"Ar|Cm|Ns|Oc|Oo|Op|Pq|Fl|[|,./:;]")  # macros, and what stands between words


def page_of(verb: str) -> Path:
    return MAN / f"carpool-{verb}.8"


def text_of(page: Path) -> str:
    return page.read_text().replace("\\-", "-").replace("\\(dq", '"')


def sections(page: Path) -> dict[str, str]:
    parts = re.split(r"^\.Sh (.+)\n", text_of(page), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def flags(text: str) -> Iterator[str]:
    """Every option that the macro `Fl` names, as it is typed."""
    for line in re.findall(r"^\.(.*)$", text, re.MULTILINE):
        named = False
        for word in line.split():
            if named and not NO_FLAG.fullmatch(word):
                yield f"-{word}"
            elif word in ("Fl", "Ar", "Cm"):
                named = word == "Fl"


def parsers(verb: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Of a verb, and of its own verbs, with the words that lead there."""
    waiting = [(verb, below(build_parser([verb]))[verb])]
    while waiting:
        words, parser = waiting.pop()
        yield words, parser
        waiting += [(f"{words} {word}", one) for word, one in below(parser).items()]


def below(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def options(verb: str) -> set[str]:
    return {
        flag
        for _, parser in parsers(verb)
        for action in parser._actions
        for flag in action.option_strings
    }


def test_every_verb_has_a_page_and_every_page_a_verb() -> None:
    assert {page_of(verb).name for verb in VERBS} == {page.name for page in MAN.glob("carpool-*")}
    overview = text_of(MAN / "carpool.8")
    assert [verb for verb in VERBS if f".It Xr carpool-{verb} 8\n" not in overview] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_its_sections_in_order(page: Path) -> None:
    found = [name for name in sections(page) if name in (*SECTIONS, *OF_A_FILE)]
    wanted = SECTIONS if page.suffix == ".8" else OF_A_FILE
    assert [name for name in found if name in wanted] == wanted
    name = page.name.rpartition(".")[0]
    assert text_of(page).splitlines()[1] == f".Dt {name.upper()} {page.suffix[1:]}"
    assert sections(page)["NAME"].startswith(f".Nm {name}\n.Nd ")


@pytest.mark.parametrize("verb", VERBS)
def test_a_page_has_every_option_of_its_verb_and_no_other(verb: str) -> None:
    found = sections(page_of(verb))
    items = "\n".join(re.findall(r"^\.It Fl .*$", found.get("OPTIONS", ""), re.MULTILINE))
    described, said = set(flags(items)), set(flags("".join(found.values())))
    assert options(verb) - EVERYWHERE - described == set(), "not described"
    assert said - options(verb) == set(), "not taken"


@pytest.mark.parametrize("verb", VERBS)
def test_the_synopsis_names_each_of_its_own_verbs_and_choices(verb: str) -> None:
    synopsis = sections(page_of(verb))["SYNOPSIS"]
    words = set(re.findall(r"[\w-]+", synopsis))
    named = {word for words_to, _ in parsers(verb) for word in words_to.split()}
    assert named - words == set()
    shown = set(flags(synopsis))
    for words_to, parser in parsers(verb):
        for action in parser._actions:
            if action.option_strings and words_to != "states list":  # whose filters are a table
                assert shown & {*action.option_strings} or EVERYWHERE & {*action.option_strings}
            elif action.choices and not isinstance(action, argparse._SubParsersAction):
                text = text_of(page_of(verb))
                assert [one for one in action.choices if not re.search(rf"\b{one}\b", text)] == []


def commands() -> list[tuple[str, str]]:
    """Every command line of carpool that a page shows: in its examples, and in its sentences."""
    found = []
    for page in PAGES:
        text = text_of(page)
        for block in re.findall(r"^\.Bd -literal.*\n((?s:.*?))^\.Ed$", text, re.MULTILINE):
            lines = [match[1] for line in block.splitlines() if (match := PROMPT.match(line))]
            found += [(page.name, one) for line in lines for one in re.split(r" && |  +", line)]
        found += [(page.name, said) for said in re.findall(r"^\.Ql (carpool [^,\n]+)", text, re.M)]
    return [(name, line) for name, line in found if line.startswith("carpool ")]


@pytest.mark.parametrize(("page", "line"), commands())
def test_what_a_page_tells_to_type_is_taken(page: str, line: str) -> None:
    words = shlex.split(line.partition(" | ")[0], comments=True)[1:]
    with contextlib.redirect_stderr(io.StringIO()) as told:
        try:
            args = build_parser(words).parse_args(words)
        except SystemExit:
            pytest.fail(f"{page}: {line}: {told.getvalue()}")
    assert args.face in VERBS


def test_pages_refer_to_pages_that_there_are() -> None:
    ours = {page.name for page in PAGES}
    lost = [
        f"{page.name}: {name}({number})"
        for page in PAGES
        for name, number in re.findall(r"^\.(?:It )?Xr (\S+) (\d)", text_of(page), re.MULTILINE)
        if re.match(r"carpool|node\.toml|group\.toml", name) and f"{name}.{number}" not in ours
    ]
    assert lost == []


def test_the_help_of_a_verb_names_its_page() -> None:
    for verb in VERBS:
        for _, parser in parsers(verb):
            assert f"carpool-{verb}(8)" in parser.format_help()


@pytest.mark.parametrize("program", ["mandoc -Tlint -Wwarning", "groff -mdoc -ww -Tutf8 -z"])
def test_who_shows_them_finds_nothing_to_say(program: str) -> None:
    """groff is what `man` of Debian calls."""
    argv = [*program.split(), *map(str, PAGES)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=50, check=False)
    assert (done.stdout + done.stderr, done.returncode) == ("", 0)
