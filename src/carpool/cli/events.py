"""`carpool events`: what moved, and why; from the process, or from its file when it is down.

Room: cli. Asks and prints; what it looks like is `api/render.py`.
"""

from __future__ import annotations

import argparse
import json
import sys

from carpool.api.clean import complaint
from carpool.api.eventlog import EVENTS_MAX, events
from carpool.api.terminal import terminal
from carpool.errors import EXIT_OK

LIMIT = 50


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `events` to the command line."""
    parser = subparsers.add_parser(
        "events",
        help="what moved, and why",
        description="Show what the failover process did and noticed, and what came of hooks, "
        "newest last. When it is down, what it left in its run directory (and ends with 4).",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--limit", type=_limit, default=LIMIT, metavar="N", help=f"how many, 1 to 1000 ({LIMIT})"
    )
    parser.add_argument("--json", action="store_true", help="as JSON on stdout")


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= EVENTS_MAX:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is no number from 1 to 1000")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Show the events; EXIT_UNREACHABLE when they come from the file alone."""
    found = events(args.run_dir, args.limit)
    if found.error is not None:
        print(complaint(found.error), file=sys.stderr)
    answer = {"events": found.rows}
    if args.json:
        print(json.dumps(answer, indent=1))
    else:
        from carpool.api import render

        terminal().print(render.events(answer))
    return EXIT_OK if found.error is None else found.error.exit_code
