"""The `carpool` command: finds the verb, imports what it needs, turns errors into exit codes.

Room: cli. Refuses to know what any verb does: each is a module with `add_parser(subparsers)` and
`run(args) -> exit code`, imported only when it is the one that is said, so that
`carpool run failover` loads neither tables nor the lab.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from carpool import __version__
from carpool.api.clean import complaint
from carpool.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, CarpoolError

_OPERATE = "carpool.cli.operate"
_PAIR = "carpool.cli.pair"
_SYNC = "carpool.cli.sync"
VERBS = {  # verb: module, help
    "setup": ("carpool.cli.setup", "take two machines to a working pair, step by step"),
    "check": ("carpool.cli.check", "say everything that is wrong with the configuration"),
    "run": ("carpool.cli.run", "run a process of this node in the foreground"),
    "status": ("carpool.cli.status", "is all well, and if not, what is wrong?"),
    "doctor": ("carpool.cli.doctor", "what would hurt a failover, and how to mend it"),
    "events": ("carpool.cli.events", "what moved, and why"),
    "states": ("carpool.cli.states", "how connections are replicated, and which"),
    "metrics": ("carpool.cli.metrics", "status and states, for Prometheus"),
    "apply": (
        "carpool.cli.apply",
        "take up node.toml and group.toml as they are now",
    ),
    "maintenance": (_OPERATE, "keep this node from being master, over restarts"),
    "disable": (_OPERATE, "take this node out of the group until its process restarts"),
    "enable": (_OPERATE, "end `carpool disable`"),
    "undamp": (_OPERATE, "let the group move again at once"),
    "switchover": (_OPERATE, "give the mastership away, gracefully"),
    "init": (_PAIR, "wait for another node to pair with"),
    "join": (_PAIR, "pair with the node that shows a code"),
    "peers": (_PAIR, "which nodes are paired with this one"),
    "unpair": (_PAIR, "trust another node no more"),
    "sections": ("carpool.cli.sections", "which parts of the configuration can be synchronised"),
    "diff": (_SYNC, "what a synchronisation would change on each peer"),
    "sync": (_SYNC, "make the configuration of the peers that of this node"),
    "pull": (_SYNC, "take over what was changed on a peer"),
    "confirm": (_SYNC, "keep a change that waits for it"),
    "history": (_SYNC, "the revisions of this node's configuration"),
    "show": (_SYNC, "what a revision changed"),
    "rollback": (_SYNC, "make this node's configuration that of a revision"),
    "services": ("carpool.cli.services", "the services of the selected sections, on any node"),
    "update": ("carpool.cli.update", "update the packages of a node that is no MASTER"),
    "checks": (
        "carpool.cli.checks",
        "what demotes this node while it fails, and how it stands",
    ),
    "hooks": ("carpool.cli.hooks", "what runs on transitions, and how it went"),
    "alerts": ("carpool.cli.alerts", "who is told of a failover, and how that went"),
    "rules": ("carpool.cli.rules", "the nftables table that keeps strangers from carpool"),
    "account": ("carpool.cli.account", "give an account of the pages another one-time password"),
    "release": ("carpool.cli.release", "take away what a process that died left behind"),
    "install": ("carpool.cli.install", "write units and man pages, after pip or uv"),
    "lab": ("carpool.cli.lab", "a real network on this machine, to see failover work"),
    "help": ("carpool.cli.help", "the manual, of carpool or of a verb"),
}
NAMES = "__names"  # what shells ask, and nobody else: which names fit an argument
DIRECTORIES = (  # option, environment variable, default, what is there
    ("--config-dir", "CARPOOL_CONFIG_DIR", "/etc/carpool", "node.toml and group.toml"),
    ("--run-dir", "CARPOOL_RUN_DIR", "/run/carpool", "control sockets and the event log"),
    ("--state-dir", "CARPOOL_STATE_DIR", "/var/lib/carpool", "the maintenance flag"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the answer is the exit code. argparse exits by itself (0 or 2)."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == [NAMES]:
        return int(import_module("carpool.cli.names").main(words[1:]))
    parser = build_parser(words)
    args = parser.parse_args(words)
    if args.face is None:
        parser.print_help(sys.stderr)
        return EXIT_USAGE
    try:
        code = int(import_module(VERBS[args.face][0]).run(args))
        sys.stdout.flush()
    except CarpoolError as error:
        print(complaint(error), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Python flushes stdout once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    return code


def build_parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """The command line; only the verb that `words` say knows its arguments."""
    parser = argparse.ArgumentParser(
        prog="carpool",
        description="Two or more Linux firewalls that fail over as one.",
        epilog="carpool(8) is the manual, carpool-VERB(8) that of a verb; node.toml(5) and "
        "group.toml(5) describe the files.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"carpool {__version__}")
    add_directories(parser, with_defaults=True)
    verbs = parser.add_subparsers(dest="face", metavar="VERB")
    said = _verb(words)
    for verb, (module, text) in VERBS.items():
        if said is None or module != VERBS[said][0]:
            verbs.add_parser(verb, help=text)
        elif verb not in verbs.choices:  # one module may bring several verbs
            import_module(module).add_parser(verbs)
    if said is not None:
        _name_page(verbs.choices[said], said)
        if said != "lab":  # which has directories of its own
            add_directories(verbs.choices[said], with_defaults=False)
    return parser


def _name_page(parser: argparse.ArgumentParser, verb: str) -> None:
    """At the end of the help of a verb, and of its own verbs."""
    page = f"carpool-{verb}(8) tells more."
    parser.epilog = f"{parser.epilog} {page}" if parser.epilog else page
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                _name_page(one, verb)


def _verb(words: Sequence[str]) -> str | None:
    """The first word that is neither an option nor a directory."""
    options = {option for option, *_ in DIRECTORIES}
    rest = iter(words)
    for word in rest:
        if word in options:
            next(rest, None)
        elif not word.startswith("-"):
            return word if word in VERBS else None
    return None


def add_directories(parser: argparse.ArgumentParser, *, with_defaults: bool) -> None:
    """Directories may stand before or after the verb; only before it do defaults count."""
    for option, variable, default, what in DIRECTORIES:
        parser.add_argument(
            option,
            type=Path,
            metavar="DIR",
            default=os.environ.get(variable) or default if with_defaults else argparse.SUPPRESS,
            help=f"{what} (${variable}, {default})",
        )
