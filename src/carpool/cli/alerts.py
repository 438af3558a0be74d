"""`carpool alerts`: who is told of what happens to the group, how that went, and trying it.

Room: cli. The agent of this node does it.
"""

from __future__ import annotations

import argparse
import json

from carpool.agent.localclient import LocalClient
from carpool.cli.main import add_directories
from carpool.cli.sync import show
from carpool.errors import EXIT_FAILED, EXIT_OK

WAIT_S = 90.0  # for one try, and for another one that is under way


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `alerts` to the command line."""
    parser = subparsers.add_parser(
        "alerts",
        help="who is told of a failover, and how that went",
        description="List the targets of alerts.toml, their URLs masked, and how the last message "
        "to each went. Ends with 4 when the agent does not answer.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="as JSON on stdout")
    parts = parser.add_subparsers(dest="part", metavar="PART")
    part = parts.add_parser(
        "test",
        help="send a message now",
        description="Send a target, or all of them, a message that is a try. Ends with 1 when one "
        "was not sent.",
        allow_abbrev=False,
    )
    part.add_argument("name", metavar="NAME", nargs="?", help="of a target (all)")
    part.add_argument("--json", action="store_true", help="as JSON on stdout")
    add_directories(part, with_defaults=False)


def run(args: argparse.Namespace) -> int:
    """List, or try. CarpoolError when the agent refuses or does not answer."""
    from carpool.api import renderalerts

    with LocalClient(args.run_dir) as agent:
        if args.part is None:
            answer = agent.get("/v1/alerts")
        else:
            answer = agent.post("/v1/alerts/test", {"name": args.name}, timeout_s=WAIT_S)
    if args.json:
        print(json.dumps(answer, indent=1))
    else:
        show(renderalerts.alerts(answer) if args.part is None else renderalerts.tried(answer))
    return EXIT_OK if renderalerts.is_well(answer) else EXIT_FAILED
