"""`carpool states`: how replication does, this node's table, and comparing it with the peers'.

Room: cli. Finds the part and imports no other; they are `statespage.py` (without a part),
`statestable.py` and `statesverify.py`.
"""

from __future__ import annotations

import argparse
from importlib import import_module

from carpool.cli.main import add_directories

_PAGE, _TABLE = "carpool.cli.statespage", "carpool.cli.statestable"
_VERIFY = "carpool.cli.statesverify"
_PARTS = {  # what is asked: module, help, more
    "list": (
        _TABLE,
        "this node's connections, as `conntrack -L` shows them",
        "Reads the kernel's table and needs no running process. The filters are those of "
        "conntrack(8); all of them must fit.",
    ),
    "verify": (
        _VERIFY,
        "compare this node's table with its peers', and show what differs",
        "Changes nothing. Ends with 1 when tables differ, with 4 when a peer cannot be asked.",
    ),
    "resync": (
        _VERIFY,
        "give peers the whole table, and put right what differs",
        "Not needed in the normal course: replication finds and repairs drift by itself.",
    ),
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `states` and its parts to the command line."""
    parser = subparsers.add_parser(
        "states",
        help="how connections are replicated, and which",
        description="Without a part: how the replication to each peer does. Ends with 4 when the "
        "states process does not answer.",
        allow_abbrev=False,
    )
    import_module(_PAGE).add_arguments(parser)
    parts = parser.add_subparsers(dest="part", metavar="PART")
    for name, (module, text, more) in _PARTS.items():
        part = parts.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}. {more}", allow_abbrev=False
        )
        import_module(module).add_arguments(part)
        add_directories(part, with_defaults=False)


def run(args: argparse.Namespace) -> int:
    """Do the part; its exit code."""
    module = _PARTS[args.part][0] if args.part else _PAGE
    return int(import_module(module).run(args))
