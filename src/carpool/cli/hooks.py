"""`carpool hooks`: what runs on transitions, how it went, and trying one by hand.

Room: cli. The agent of this node does it.
"""

from __future__ import annotations

import argparse
import json
from urllib.parse import quote

from carpool.agent.localclient import LocalClient
from carpool.cli.main import add_directories
from carpool.cli.sync import show
from carpool.errors import EXIT_FAILED, EXIT_OK
from carpool.model.validate_scripts import HOOK_TIMEOUT_MAX_S

ROLES = ("MASTER", "BACKUP", "INIT", "DISABLED", "SPLIT")
WAIT_S = 2.0 * HOOK_TIMEOUT_MAX_S + 30.0  # it may have to wait for a run that is under way


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `hooks` to the command line."""
    parser = subparsers.add_parser(
        "hooks",
        help="what runs on transitions, and how it went",
        description="List the hooks of this node and how each went last. Ends with 4 when the "
        "agent does not answer.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="as JSON on stdout")
    parts = parser.add_subparsers(dest="part", metavar="PART")
    part = parts.add_parser(
        "run",
        help="run one now",
        description="Run a hook now, with the document of such a transition. Ends with 1 when it "
        "fails.",
        allow_abbrev=False,
    )
    part.add_argument("name", metavar="NAME", help="of its file")
    part.add_argument(
        "--role", choices=ROLES, default="MASTER", help="that is said to be taken (MASTER)"
    )
    part.add_argument("--vip", metavar="VHID@IF", help="by this VIP, in place of the group")
    part.add_argument("--json", action="store_true", help="as JSON on stdout")
    add_directories(part, with_defaults=False)


def run(args: argparse.Namespace) -> int:
    """List, or run one. CarpoolError when the agent refuses or does not answer."""
    from carpool.api import renderscripts

    with LocalClient(args.run_dir) as agent:
        if args.part is None:
            answer = agent.get("/v1/hooks")
        else:
            path = f"/v1/hooks/{quote(args.name, safe='')}/run"
            body = {"role": args.role, "vip": args.vip}
            answer = agent.post(path, body, timeout_s=WAIT_S)
    if args.json:
        print(json.dumps(answer, indent=1))
    elif args.part is None:
        show(renderscripts.hooks(answer))
    else:
        show(renderscripts.hook(answer))
    return EXIT_OK if args.part is None or answer.get("ok") else EXIT_FAILED
