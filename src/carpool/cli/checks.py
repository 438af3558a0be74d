"""`carpool checks`: what demotes this node while it fails, and how it stands.

Room: cli. The agent of this node does it.
"""

from __future__ import annotations

import argparse
import json

from carpool.agent.localclient import LocalClient
from carpool.api.control import Answer
from carpool.api.render import entries_of
from carpool.cli.main import add_directories
from carpool.cli.sync import show
from carpool.errors import EXIT_FAILED, EXIT_OK
from carpool.model.validate_scripts import INTERVAL_MAX_S

WAIT_S = 2.0 * INTERVAL_MAX_S + 30.0  # what runs already is waited for


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `checks` to the command line."""
    parser = subparsers.add_parser(
        "checks",
        help="what demotes this node while it fails, and how it stands",
        description="List the checks of this node and how each stands. Ends with 1 when one fails, "
        "with 4 when the agent does not answer.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="as JSON on stdout")
    parts = parser.add_subparsers(dest="part", metavar="PART")
    part = parts.add_parser(
        "run",
        help="run them now",
        description="Run one check, or all of them, now; the result counts like any other. Ends "
        "with 1 when one fails.",
        allow_abbrev=False,
    )
    part.add_argument("name", metavar="NAME", nargs="?", help="of its file; without it all")
    part.add_argument("--json", action="store_true", help="as JSON on stdout")
    add_directories(part, with_defaults=False)


def run(args: argparse.Namespace) -> int:
    """List, or run. CarpoolError when the agent refuses or does not answer."""
    from carpool.api import renderscripts

    with LocalClient(args.run_dir) as agent:
        if args.part is None:
            answer = agent.get("/v1/checks")
        else:
            answer = agent.post("/v1/checks/run", {"name": args.name}, timeout_s=WAIT_S)
    if args.json:
        print(json.dumps(answer, indent=1))
    else:
        show(renderscripts.checks(answer))
    return EXIT_FAILED if _fails(answer, "failing" if args.part is None else "ok") else EXIT_OK


def _fails(answer: Answer, key: str) -> bool:
    """Whether one counts as failing, or its run just failed."""
    return any(row.get(key) is (key == "failing") for row in entries_of(answer, "checks"))
