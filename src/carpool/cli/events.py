"""`carpool events`: what moved, and why; from the process, or from its file when it is down.

Room: cli. Asks and prints; what it looks like is `api/render.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping

from carpool.api.clean import complaint
from carpool.api.control import AGENT_EVENTS, FAILOVER, Answer, request, socket_of
from carpool.errors import EXIT_OK, UnreachableError

ANSWER_WAIT_S = 3.0
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
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= 1000:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is no number from 1 to 1000")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Show the events; EXIT_UNREACHABLE when they come from the file alone."""
    command = {"command": "events", "limit": args.limit}
    code = EXIT_OK
    try:
        answer = request(socket_of(args.run_dir, FAILOVER), command, ANSWER_WAIT_S)
    except UnreachableError as error:
        print(complaint(error), file=sys.stderr)
        answer, code = _stored(args), error.exit_code
    answer = _with_the_agents(answer, args)
    if args.json:
        print(json.dumps({"events": answer.get("events", [])}, indent=1))
    else:
        from rich.console import Console  # a script that wants JSON does not wait for it

        from carpool.api import render

        Console(highlight=False).print(render.events(answer))
    return code


def _with_the_agents(answer: Answer, args: argparse.Namespace) -> Answer:
    """What hooks and checks did, from its file, in the order in which it all happened."""
    from carpool.kernel.journal import Journal

    others = Journal(args.run_dir / AGENT_EVENTS).last(args.limit)
    found = answer.get("events")
    if not others or not isinstance(found, list):
        return answer
    rows = sorted([*found, *others], key=_happened_s)
    return {**answer, "events": rows[-args.limit :]}


def _happened_s(event: object) -> float:
    at_s = event.get("monotonic_s") if isinstance(event, Mapping) else None
    return at_s if isinstance(at_s, int | float) else 0.0


def _stored(args: argparse.Namespace) -> Answer:
    """What the process kept over its own restarts."""
    from carpool.kernel.journal import Journal

    return {"events": Journal(args.run_dir / "failover.events").last(args.limit)}
