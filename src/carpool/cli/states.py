"""`carpool states`: how replication does, this node's table, and comparing it with the peers'.

Room: cli. Arguments and exit codes; the parts are `statestable.py` (list) and, for what the states
process is asked, `statesask.py`.
"""

from __future__ import annotations

import argparse
from importlib import import_module

_TABLE = "carpool.cli.statestable"
_PARTS = {  # what is asked: module, help, more
    "list": (
        _TABLE,
        "this node's connections, as `conntrack -L` shows them",
        "Reads the kernel's table and needs no running process. The filters are those of "
        "conntrack(8); all of them must fit.",
    ),
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `states` and its parts to the command line."""
    about = "replication of connection states; and the states themselves"
    parser = subparsers.add_parser(
        "states", help=about, description=f"{about.capitalize()}.", allow_abbrev=False
    )
    parts = parser.add_subparsers(dest="part", metavar="PART", required=True)
    for name, (module, text, more) in _PARTS.items():
        part = parts.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}. {more}", allow_abbrev=False
        )
        import_module(module).add_arguments(part)


def run(args: argparse.Namespace) -> int:
    """Do the part; its exit code."""
    return int(import_module(_PARTS[args.part][0]).run(args))
