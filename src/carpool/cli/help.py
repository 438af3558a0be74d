"""`carpool help`: the page of the manual, or the help of the command line where no `man` is.

Room: cli. Shows the pages of this very installation, which are there before `carpool install` too.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from carpool.cli.files import assets
from carpool.cli.main import VERBS, build_parser
from carpool.errors import EXIT_OK, CarpoolError

FILES = ("node.toml", "group.toml")  # which have a page as well


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `help` to the command line."""
    parser = subparsers.add_parser(
        "help",
        help="the manual, of carpool or of a verb",
        description="Show the manual: of carpool, of a verb, of node.toml or group.toml. Where "
        "there is no `man`, what --help tells.",
        allow_abbrev=False,
    )
    parser.add_argument("topic", nargs="?", metavar="VERB", help="a verb, node.toml or group.toml")


def run(args: argparse.Namespace) -> int:
    """Becomes `man`, whose exit code counts then; CarpoolError for a topic without a page."""
    page = _page(args.topic)
    man = shutil.which("man")
    if man is not None and page.is_file():
        os.execv(man, [man, "-l", str(page)])  # noqa: S606  # it has the terminal to itself
    if args.topic in FILES:
        raise CarpoolError(
            f"there is no `man` on this machine to show {args.topic}(5)",
            hint=f"install man-db, or read {page}",
        )
    _parser(args.topic).print_help()
    return EXIT_OK


def _page(topic: str | None) -> Path:
    pages = assets() / "docs" / "man"
    if topic is None:
        return pages / "carpool.8"
    if topic in FILES:
        return pages / f"{topic}.5"
    if topic not in VERBS:
        raise CarpoolError(
            f"nothing is told about {topic!r}: it is no verb, and none of {', '.join(FILES)}",
            hint="`carpool --help` lists the verbs",
        )
    return pages / f"carpool-{topic}.8"


def _parser(verb: str | None) -> argparse.ArgumentParser:
    if verb is None:
        return build_parser([])
    top = build_parser([verb])
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            top = action.choices[verb]
    return top
