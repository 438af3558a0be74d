"""`carpool sections`: which parts of the configuration carpool knows, and which are synchronised.

Room: cli. Reads the files and looks what is installed; an agent that runs tells how they stand
on the peers.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from textwrap import wrap

from carpool.api.clean import clean_lines
from carpool.api.control import Answer
from carpool.api.sections import is_installed, load_sections, selected
from carpool.api.settings import load
from carpool.cli import drift
from carpool.cli.problems import counted
from carpool.errors import EXIT_OK, CarpoolError, ConfigError
from carpool.model.section import RolePolicy, Section

WIDTH, ROOM_MIN = 80, 20  # columns
DRIFT_WAIT_S = 10.0  # the agent may have to read all files for the first time


@dataclass(frozen=True, slots=True)
class Row:
    """What is told of one section."""

    name: str
    description: str
    installed: bool  # on this node
    selected: bool  # synchronised when nobody names a section
    services: int  # as they are written: instances of one count as one
    role: RolePolicy
    # By peer, how it stands there: drift, why, since, agreed. Without an agent nothing is known.
    peers: Mapping[str, Answer] = field(default_factory=dict)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `sections` to the command line."""
    parser = subparsers.add_parser(
        "sections",
        help="which parts of the configuration can be synchronised",
        description="List all sections, presets and those of group.toml: whether what they are "
        "for is installed on this node, whether [sync] selects them, and, if the agent runs, how "
        "they stand on each peer.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """List them. ConfigError when the files cannot be used."""
    config, problems = load(args.config_dir)
    sections, more = load_sections(args.config_dir)
    fatal = [problem for problem in (*problems, *more) if problem.fatal]
    if config is None or fatal:
        raise ConfigError(
            f"the configuration cannot be used: {counted(fatal)}", hint="`carpool check` tells"
        )
    answer = drift.ask(args.run_dir, config, DRIFT_WAIT_S)
    if isinstance(answer, CarpoolError):
        told_why = clean_lines(str(answer))
        print(f"carpool: how they stand on the peers is not known: {told_why}", file=sys.stderr)
    told = drift.stands(answer) or {}
    chosen = selected(config)
    rows = [row(section, chosen, told) for section in sections.values()]
    if args.json:
        print(json.dumps([asdict(one) for one in rows], indent=1))
    else:
        print("\n".join(table(rows, list(told))))
    return EXIT_OK


def row(section: Section, chosen: Sequence[str], told: drift.Stands) -> Row:
    return Row(
        name=section.name,
        description=section.description,
        installed=is_installed(section),
        selected=section.name in chosen,
        services=len(section.services),
        role=section.role,
        peers={
            peer: stands[section.name] for peer, stands in told.items() if section.name in stands
        },
    )


def table(rows: Sequence[Row], peers: Sequence[str]) -> list[str]:
    """Lines of at most 80 columns, a head first; below a section, how it stands on each peer. What
    else there is to know of one, `--json` has."""
    width = max(len(name) for name in ("SECTION", *(one.name for one in rows)))
    lines = [f"{'SECTION':{width}}  INSTALLED  SELECTED  DESCRIPTION"]
    for one in rows:
        installed, chosen = ("yes" if value else "no" for value in (one.installed, one.selected))
        start = f"{one.name:{width}}  {installed:9}  {chosen:8}  "
        lines += _wrapped(start, one.description) or [start.rstrip()]
        for peer in peers:
            if peer in one.peers:
                lines += _wrapped(f"  on {peer}: ", _stand(one, peer))
    return lines


def _wrapped(start: str, text: str) -> list[str]:
    """Below each other; nothing, when there is no text."""
    room = max(WIDTH - len(start), ROOM_MIN)
    return [
        f"{' ' * len(start) if number else start}{line}"
        for number, line in enumerate(wrap(text, room))
    ]


def _stand(row: Row, peer: str) -> str:
    from carpool.api import render  # only where there is something to show

    return render.stand(row.peers[peer])
