"""Completion for bash, zsh and fish, written from the parsers themselves.

Room: cli. Verbs, options and choices are in what it writes; names (of sections, peers, hooks) a
shell asks for, `names.py`. Files are offered where a word is none of these.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from carpool.cli.main import NAMES, VERBS, build_parser
from carpool.cli.names import kind_of

REPEATS = "..."


@dataclass(frozen=True, slots=True)
class Option:
    """`--json`, or `-m` with `--reason`; `choices` of its value, or what that is a name of."""

    flags: tuple[str, ...]
    takes: bool
    choices: tuple[str, ...]
    about: str
    names: str


@dataclass(frozen=True, slots=True)
class Words:
    """What may follow some words: options, words by themselves with what each is for, and names:
    what each argument takes a name of ("-": of nothing), the last with "..." if it repeats."""

    after: tuple[str, ...]  # (), ("sync",), ("states", "verify")
    options: tuple[Option, ...]
    words: dict[str, str]
    names: tuple[str, ...] = ()


@cache
def described() -> tuple[Words, ...]:
    """All verbs, parents first."""
    return tuple(_described())


def _described() -> Iterator[Words]:
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
    yield Words(after, tuple(_options(parser, after[0])), words, tuple(_names(parser, after[0])))
    for word, one in below.items():
        yield from _below((*after, word), one)


def _verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _names(parser: argparse.ArgumentParser, verb: str) -> Iterator[str]:
    for action in parser._actions:
        if not action.option_strings and not isinstance(action, argparse._SubParsersAction):
            kind = "" if action.choices else kind_of(verb, action.dest)
            yield (kind or "-") + (REPEATS if action.nargs in ("*", "+") else "")


def _options(parser: argparse.ArgumentParser, verb: str = "") -> Iterator[Option]:
    for action in parser._actions:
        if action.option_strings and action.help != argparse.SUPPRESS:
            choices = tuple(map(str, action.choices or ()))
            takes = action.nargs != 0
            kind = kind_of(verb, action.dest) if takes else ""
            about = _line(action.help or "")
            yield Option(tuple(action.option_strings), takes, choices, about, kind)


def _values() -> Iterator[tuple[str, str, str]]:
    """Of all options that take a value, whatever their verb: flags as a pattern of a shell, what it
    is a name of, and its choices."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for one in described():
        for option in one.options:
            if option.takes:
                key = (option.names, " ".join(option.choices))
                found.setdefault(key, {}).update(dict.fromkeys(option.flags))
    for (names, choices), flags in sorted(found.items(), reverse=True):
        yield "|".join(flags), names, choices


def _line(text: str) -> str:
    return " ".join(text.replace("%%", "%").split())


def bash() -> str:
    """For bash-completion: looked up by the words that are no options."""
    cases, values, takes = [], [], []
    for one in described():
        words = [*one.words, *(flag for option in one.options for flag in option.flags)]
        names = " ".join(one.names)
        cases.append(
            f'        "{" ".join(one.after)}") words="{" ".join(words)}" names="{names}" ;;'
        )
    for flags, kind, choices in _values():
        takes.append(flags)
        does = f'words="{choices}"' if choices else f"kind={kind or 'files'}"
        values.append(f"        {flags}) value=1 {does} ;;")
    return f"""# Completion of carpool for bash; made from its command line.
_carpool() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}}
    local said="" words="" names="" kind="" value="" index beyond=0
    COMPREPLY=()
    for ((index = 1; index < COMP_CWORD; index++)); do
        case ${{COMP_WORDS[index]}} in
            {"|".join(takes)}) ((index++)) ;;
            -*) ;;
            *) said="${{said:+$said }}${{COMP_WORDS[index]}}" ;;
        esac
    done
    case $previous in
{chr(10).join(values)}
    esac
    while [[ -z $value ]]; do
        case $said in
{chr(10).join("    " + line for line in cases)}
        esac
        [[ -n $words || -z $said ]] && break
        ((beyond++))
        [[ $said == *" "* ]] && said=${{said% *}} || said=""
    done
    read -r -a names <<<"$names"
    index=${{#names[@]}}
    ((index && beyond >= index)) && [[ ${{names[-1]}} == *{REPEATS} ]] && beyond=-1
    [[ -n $value ]] || kind=${{names[beyond]:--}} kind=${{kind%{REPEATS}}}
    if [[ $kind == files ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
    fi
    if [[ -n $kind && $kind != - && $current != -* ]]; then
        set -- "$kind" "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"
        words+=" $("${{COMP_WORDS[0]}}" {NAMES} "$@" 2>/dev/null)"
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}}
complete -o default -F _carpool carpool
"""


def zsh() -> str:
    """For zsh: one state for each that `bash` has a case for."""
    cases, values, takes = [], [], []
    for one in described():
        about = {**one.words, **{flag: o.about for o in one.options for flag in o.flags}}
        pairs = " ".join(_quoted(f"{word}:{text}") for word, text in about.items())
        names = " ".join(map(_quoted, one.names))
        cases.append(f'        "{" ".join(one.after)}") offered=({pairs}) names=({names}) ;;')
    for flags, kind, choices in _values():
        takes.append(flags)
        does = f"offered=({choices})" if choices else f"kind={kind or 'files'}"
        values.append(f"        {flags}) value=1 {does} ;;")
    return f"""#compdef carpool
# Completion of carpool for zsh; made from its command line.
_carpool() {{
    local said="" kind="" value="" index beyond=1
    local -a offered names
    for ((index = 2; index < CURRENT; index++)); do
        case "${{words[index]}}" in
            {"|".join(takes)}) ((index++)) ;;
            -*) ;;
            *) said="${{said:+$said }}${{words[index]}}" ;;
        esac
    done
    case "${{words[CURRENT-1]}}" in
{chr(10).join(values)}
    esac
    while [[ -z "$value" ]]; do
        case "$said" in
{chr(10).join("    " + line for line in cases)}
        esac
        [[ -n "$offered" || -z "$said" ]] && break
        ((beyond++))
        [[ "$said" == *" "* ]] && said="${{said% *}}" || said=""
    done
    index=${{#names}}
    ((index && beyond > index)) && [[ "${{names[-1]}}" == *{REPEATS} ]] && beyond=-1
    [[ -n "$value" ]] || kind="${{names[beyond]%{REPEATS}}}"
    if [[ -n "$kind" && "$kind" != - && "$kind" != files && "$PREFIX" != -* ]]; then
        set -- "$kind" "${{(@)words[2,CURRENT-1]}}"
        offered+=(${{(f)"$("${{words[1]}}" {NAMES} "$@" 2>/dev/null)"}})
    fi
    _describe carpool offered || _files
}}
_carpool "$@"
"""


def fish() -> str:
    """For fish: a line for each word and option, with the words that it follows as a condition."""
    known = {one.after for one in described()}
    flags = " ".join(flags.replace("|", " ") for flags, _, _ in _values())
    lines = [
        "# Completion of carpool for fish; made from its command line.",
        "function __carpool_names",
        "    set -l words (commandline -opc)",
        f"    $words[1] {NAMES} $argv $words[2..-1] 2>/dev/null",
        "end",
        "function __carpool_after",
        "    set -l said",
        "    set -l value no",
        "    for word in (commandline -opc)[2..-1]",
        "        if test $value = yes",
        "            set value no",
        "            continue",
        "        end",
        "        switch $word",
        f"            case {flags}",
        "                set value yes",
        "            case '-*'",
        "            case '*'",
        "                set -a said $word",
        "        end",
        "    end",
        "    set -l many (count $argv)",
        "    test $many -eq 0; and return (count $said)",
        '    test (count $said) -ge $many; and test "$said[1..$many]" = "$argv"',
        "end",
    ]
    for one in described():
        condition = " ".join(("__carpool_after", *one.after))
        start = f"complete -c carpool -n {_quoted(condition)}"
        below = [word for word in one.words if (*one.after, word) in known]
        once = f"; and not __fish_seen_subcommand_from {' '.join(below)}" if one.after else ""
        for word, about in one.words.items():
            begin = (
                f"complete -c carpool -n {_quoted(condition + once)}" if word in below else start
            )
            lines.append(f"{begin} -f -a {_quoted(word)} -d {_quoted(about)}")
        for kind in dict.fromkeys(name.removesuffix(REPEATS) for name in one.names):
            if kind != "-":
                lines.append(f"{start} -f -a '(__carpool_names {kind})'")
        for option in one.options:
            names = [
                f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
                for flag in option.flags
            ]
            value = " -r" if option.takes else ""
            if option.choices:
                value += f" -f -a {_quoted(' '.join(option.choices))}"
            elif option.names:
                value += f" -f -a '(__carpool_names {option.names})'"
            lines.append(f"{start} {' '.join(names)}{value} -d {_quoted(option.about)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A word in single quotes, for fish and zsh alike; without escapes, of which they differ."""
    return "'" + text.replace("\\", "").replace("'", "'\\''") + "'"


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}
