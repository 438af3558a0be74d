"""`carpool maintenance`, `disable`, `enable`, `switchover`, `undamp`: who is master.

Room: cli. One request each; the failover process does it. Saying a thing twice does no harm.
"""

from __future__ import annotations

import argparse

from carpool.api.control import FAILOVER, request, socket_of
from carpool.errors import EXIT_OK

ANSWER_WAIT_S = 10.0
REASON_MAX = 200  # letters
SWITCHOVER_WAIT_S = 30.0  # a peer takes over in one advertisement; this is for one that is slow

# What is said when something changed, and when it was so already.
_SAID = {
    ("maintenance", True): (
        "maintenance mode is on: a peer is master, over restarts, until `carpool maintenance off`",
        "already in maintenance mode",
    ),
    ("maintenance", False): ("maintenance mode is off", "not in maintenance mode already"),
    ("disable", None): (
        "disabled: this node takes no part until `carpool enable`, or until its process restarts",
        "already disabled",
    ),
    ("enable", None): ("enabled", "already enabled"),
    ("undamp", None): (
        "the group may move again: what this node knew of earlier moves is forgotten",
        "nothing was held: what this node knew of earlier moves is forgotten",
    ),
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the five verbs to the command line."""
    for verb, about, more in (
        (
            "maintenance",
            "keep this node from being master, over restarts",
            "It goes on as a backup: if every other node is lost, it still takes over.",
        ),
        (
            "disable",
            "take this node out of the group until its process restarts",
            "Its peers take over at once. It does not take over from anybody, whatever happens.",
        ),
        ("enable", "end `carpool disable`", "The node takes part again, as a backup at first."),
        (
            "undamp",
            "let the group move again at once",
            "What [damping] of group.toml counts begins anew, on this node.",
        ),
        (
            "switchover",
            "give the mastership away, gracefully",
            "Once: a node that is preferred and preempts is not kept from taking it back later.",
        ),
    ):
        parser = subparsers.add_parser(
            verb, help=about, description=f"{about.capitalize()}. {more}", allow_abbrev=False
        )
        if verb == "maintenance":
            parser.add_argument("on", choices=("on", "off"), metavar="on|off")
            parser.add_argument(
                "--reason", type=_reason, metavar="TEXT", help="with `on`: shown to all"
            )


def _reason(text: str) -> str:
    if not text.isprintable() or not 1 <= len(text) <= REASON_MAX:
        raise argparse.ArgumentTypeError(f"expected 1 to {REASON_MAX} letters, in one line")
    return text


def run(args: argparse.Namespace) -> int:
    """Ask, and say what came of it. CarpoolError when the process refuses or does not answer."""
    path = socket_of(args.run_dir, FAILOVER)
    if args.face == "switchover":
        answer = request(path, {"command": "switchover"}, SWITCHOVER_WAIT_S)
        took_s = answer.get("took_s")
        took = f" after {took_s * 1000:.0f} ms" if isinstance(took_s, float) and took_s else ""
        print(f"{answer.get('text', 'done')}{took}")
        return EXIT_OK
    command: dict[str, object] = {"command": args.face}
    on = None
    if args.face == "maintenance":
        on = command["on"] = args.on == "on"
        if args.reason:
            command["reason"] = args.reason
    answer = request(path, command, ANSWER_WAIT_S)
    changed, unchanged = _SAID[args.face, on]
    print(unchanged if answer.get("changed") is False else changed)
    return EXIT_OK
