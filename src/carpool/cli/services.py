"""`carpool services`: how the services of the selected sections do, and acting on one.

Room: cli. The agent of this node does it, and asks that of a peer.
"""

from __future__ import annotations

import argparse
import json
from urllib.parse import quote

from carpool.agent.localclient import LocalClient
from carpool.agent.waits import ACT_WAIT_S, LIST_WAIT_S
from carpool.cli.sync import show, who
from carpool.errors import EXIT_OK, CarpoolError

ACTIONS = ("start", "stop", "restart", "reload")
MORE_S = 5.0  # than the agent waits for a peer, so that its words arrive


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `services` to the command line."""
    parser = subparsers.add_parser(
        "services",
        help="the services of the selected sections, on any node",
        description="List the services of the sections that [sync] selects, or act on one that "
        "a section names.",
        allow_abbrev=False,
    )
    parser.add_argument("action", nargs="?", choices=ACTIONS, metavar="|".join(ACTIONS))
    parser.add_argument("name", nargs="?", metavar="NAME", help="without .service")
    parser.add_argument("--peer", help="there, in place of this node")
    parser.add_argument("--json", action="store_true", help="as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """List, or act. CarpoolError when the agent refuses, does not answer, or the service fails."""
    from carpool.api import renderservices

    if args.action is not None and args.name is None:
        raise CarpoolError(f"{args.action} which service?", hint="`carpool services` lists them")
    params = {"peer": args.peer} if args.peer else {}
    with LocalClient(args.run_dir) as agent:
        if args.action is None:
            answer = agent.get("/v1/services", params, timeout_s=LIST_WAIT_S + MORE_S)
        else:
            path = f"/v1/services/{quote(args.name, safe='')}/{args.action}"
            body = {"by": who()}
            answer = agent.post(path, body, params=params, timeout_s=ACT_WAIT_S + MORE_S)
    if args.json:
        print(json.dumps(answer, indent=1))
    elif args.action is None:
        show(renderservices.services(answer))
    else:
        show(renderservices.service(answer))
    return EXIT_OK
