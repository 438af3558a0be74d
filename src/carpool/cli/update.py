"""`carpool update`: the packages of a node that is no MASTER, and its reboot.

Room: cli. The agent of that node does it; here it is asked, shown, and listened to again when an
agent was restarted by its own upgrade.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from carpool.agent.localclient import LocalClient
from carpool.agent.waits import PACKAGES_WAIT_S
from carpool.cli.sync import show, steps, who
from carpool.errors import EXIT_OK, CarpoolError, UnreachableError
from carpool.kernel.clock import monotonic_s, sleep_s

REFRESH_WAIT_S = 400.0
BACK_MAX_S, AGAIN_S = 60.0, 0.5  # for the agent of this node, which packages restart
MORE_S = 10.0  # than the agent waits for a peer, so that its words arrive


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `update` to the command line."""
    parser = subparsers.add_parser(
        "update",
        help="update the packages of a node that is no MASTER",
        description="Update the packages of this node or a peer while it is no MASTER, and say "
        "how it came back.",
        allow_abbrev=False,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="show what could be updated, and end")
    what.add_argument(
        "--follow", action="store_true", help="show the update that is under way, or was last"
    )
    parser.add_argument("--refresh", action="store_true", help="with --list: fetch the lists first")
    parser.add_argument("--peer", help="there, in place of this node")
    parser.add_argument("--reboot", action="store_true", help="reboot it if one is needed then")
    parser.add_argument(
        "--only-reboot", action="store_true", help="update nothing, reboot it in any case"
    )
    parser.add_argument("--json", action="store_true", help="as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Ask, and say what came of it. CarpoolError when it is refused, or nobody answers."""
    if args.refresh and not args.list:
        raise CarpoolError(
            "--refresh is for --list", hint="an update fetches the lists of packages by itself"
        )
    with LocalClient(args.run_dir) as agent:
        if args.list:
            return _list(agent, args)
        body: dict[str, object] = {
            "by": who(),
            "peer": args.peer or "",
            "install": not args.only_reboot,
            "reboot": args.reboot or args.only_reboot,
            "follow": args.follow,
        }
        return steps(_followed(agent, body), as_json=args.json)


def _list(agent: LocalClient, args: argparse.Namespace) -> int:
    params = {"peer": args.peer} if args.peer else {}
    if args.refresh:
        path = "/v1/packages/refresh"
        answer = agent.post(path, {}, params=params, timeout_s=REFRESH_WAIT_S)
    else:
        answer = agent.get("/v1/packages", params, timeout_s=PACKAGES_WAIT_S + MORE_S)
    if args.json:
        print(json.dumps(answer, indent=1))
    else:
        from carpool.api import renderpackages

        show(renderpackages.packages(answer))
    return EXIT_OK


def _followed(agent: LocalClient, body: dict[str, object]) -> Iterator[dict[str, Any]]:
    """Its steps, also when our own agent is restarted meanwhile."""
    heard = False
    since_s = monotonic_s()
    while True:
        try:
            for event in agent.stream("POST", "/v1/packages/update", body):
                if event.get("error") == "cut short: the agent ended":
                    raise UnreachableError(str(event["error"]))
                heard, since_s = True, monotonic_s()
                body |= {key: event[key] for key in ("at", "notes") if key in event}
                yield event
                if event.get("step") == "end":
                    return
            raise UnreachableError("the agent broke off")
        except UnreachableError:
            if not heard or monotonic_s() - since_s > BACK_MAX_S:
                raise
            body["follow"] = True
            sleep_s(AGAIN_S)
