"""Completion for bash, zsh and fish, written from the parsers themselves.

Room: cli. What a shell cannot know (names of sections, peers, revisions) it is not told; files are
offered where a word is neither a verb, a choice nor an option.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from carpool.cli.main import VERBS, build_parser


@dataclass(frozen=True, slots=True)
class Option:
    """`--json`, or `-m` with `--reason`; `choices` of its value."""

    flags: tuple[str, ...]
    takes: bool
    choices: tuple[str, ...]
    about: str


@dataclass(frozen=True, slots=True)
class Words:
    """What may follow some words: options, and words by themselves with what each is for."""

    after: tuple[str, ...]  # (), ("sync",), ("states", "verify")
    options: tuple[Option, ...]
    words: dict[str, str]


def described() -> Iterator[Words]:
    """All verbs, parents first."""
    top = build_parser([])
    yield Words((), tuple(_options(top)), {verb: about for verb, (_, about) in VERBS.items()})
    for verb in VERBS:
        yield from _below((verb,), _verbs(build_parser([verb]))[verb])


def _below(after: tuple[str, ...], parser: argparse.ArgumentParser) -> Iterator[Words]:
    choices = {
        word: ""
        for action in parser._actions
        if not action.option_strings and not isinstance(action, argparse._SubParsersAction)
        for word in action.choices or ()
    }
    below = _verbs(parser)
    words = choices | {
        word: _line(one.description or "").partition(". ")[0] for word, one in below.items()
    }
    yield Words(after, tuple(_options(parser)), words)
    for word, one in below.items():
        yield from _below((*after, word), one)


def _verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _options(parser: argparse.ArgumentParser) -> Iterator[Option]:
    for action in parser._actions:
        if action.option_strings and action.help != argparse.SUPPRESS:
            choices = tuple(map(str, action.choices or ()))
            yield Option(
                tuple(action.option_strings), action.nargs != 0, choices, _line(action.help or "")
            )


def _line(text: str) -> str:
    return " ".join(text.replace("%%", "%").split())


def bash() -> str:
    """For bash-completion: looked up by the words that are no options."""
    cases, values = [], []
    for one in described():
        words = [*one.words, *(flag for option in one.options for flag in option.flags)]
        cases.append(f'        "{" ".join(one.after)}") words="{" ".join(words)}" ;;')
        for option in one.options:
            if option.takes:
                values += [flag for flag in option.flags if flag not in values]
    return f"""# Completion of carpool for bash; made from its command line.
_carpool() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}}
    local said="" words="" index
    COMPREPLY=()
    case $previous in
        {"|".join(values)}) mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    esac
    for ((index = 1; index < COMP_CWORD; index++)); do
        case ${{COMP_WORDS[index]}} in
            {"|".join(values)}) ((index++)) ;;
            -*) ;;
            *) said="${{said:+$said }}${{COMP_WORDS[index]}}" ;;
        esac
    done
    while :; do
        case $said in
{chr(10).join("    " + line for line in cases)}
        esac
        [[ -n $words || -z $said ]] && break
        [[ $said == *" "* ]] && said=${{said% *}} || said=""
    done
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}}
complete -o default -F _carpool carpool
"""


def zsh() -> str:
    """For zsh: one state for each that `bash` has a case for."""
    cases = []
    for one in described():
        about = {**one.words, **{flag: o.about for o in one.options for flag in o.flags}}
        pairs = " ".join(_quoted(f"{word}:{text}") for word, text in about.items())
        cases.append(f'        "{" ".join(one.after)}") offered=({pairs}) ;;')
    return f"""#compdef carpool
# Completion of carpool for zsh; made from its command line.
_carpool() {{
    local said="${{(j: :)${{(@)words[2,CURRENT-1]:#-*}}}}" offered=()
    while :; do
        case "$said" in
{chr(10).join("    " + line for line in cases)}
        esac
        [[ -n "$offered" || -z "$said" ]] && break
        [[ "$said" == *" "* ]] && said="${{said% *}}" || said=""
    done
    _describe carpool offered || _files
}}
_carpool "$@"
"""


def fish() -> str:
    """For fish: a line for each word and option, with the words that it follows as a condition."""
    lines = ["# Completion of carpool for fish; made from its command line."]
    verbs = " ".join(VERBS)
    for one in described():
        condition = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in one.after)
        if not one.after:
            condition = f"not __fish_seen_subcommand_from {verbs}"
        start = f"complete -c carpool -n {_quoted(condition)}"
        for word, about in one.words.items():
            lines.append(f"{start} -f -a {_quoted(word)} -d {_quoted(about)}")
        for option in one.options:
            names = [
                f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
                for flag in option.flags
            ]
            value = " -r" if option.takes else ""
            if option.choices:
                value += f" -f -a {_quoted(' '.join(option.choices))}"
            lines.append(f"{start} {' '.join(names)}{value} -d {_quoted(option.about)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A word in single quotes, for fish and zsh alike; without escapes, of which they differ."""
    return "'" + text.replace("\\", "").replace("'", "'\\''") + "'"


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}
