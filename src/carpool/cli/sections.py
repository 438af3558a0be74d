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

from carpool.api.clean import clean_lines
from carpool.api.control import Answer
from carpool.api.sections import is_installed, load_sections, selected
from carpool.api.settings import load
from carpool.cli import drift
from carpool.cli.problems import counted
from carpool.errors import EXIT_OK, CarpoolError, ConfigError
from carpool.model.section import RolePolicy, Section

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
    """Lines of equal columns, a head first, one for each peer; the last column is as long as it
    is."""
    on = [f"ON {peer}" for peer in peers]
    head = ("SECTION", "INSTALLED", "SELECTED", "SERVICES", "ROLE", *on, "DESCRIPTION")
    cells = [
        head,
        *(
            (
                one.name,
                "yes" if one.installed else "no",
                "yes" if one.selected else "no",
                str(one.services),
                str(one.role),
                *(_stand(one, peer) for peer in peers),
                one.description,
            )
            for one in rows
        ),
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)][:-1]
    return [
        "  ".join([*map(str.ljust, cell, widths), cell[-1]]).rstrip()  # ends with the widths
        for cell in cells
    ]


def _stand(row: Row, peer: str) -> str:
    from carpool.api import render  # only where there is something to show

    return render.stand(row.peers[peer]) if peer in row.peers else "-"
