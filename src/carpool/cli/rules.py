"""`carpool rules`: the nft table that keeps strangers from carpool's ports, shown or loaded.

Room: cli. What is in it is `proto/ownrules.py`; nft loads it.
"""

from __future__ import annotations

import argparse
import sys

from carpool.api.running import begin
from carpool.cli.problems import counted
from carpool.errors import EXIT_OK, ConfigError
from carpool.kernel import ownrules as hands
from carpool.proto import ownrules


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `rules` to the command line."""
    parser = subparsers.add_parser(
        "rules",
        help="the nftables table that keeps strangers from carpool",
        description="Print the table inet carpool_rules, as node.toml and group.toml ask for it: "
        "the ports of carpool are open to peers on the links that they share, and CARP is not "
        "tracked. What the rules of this machine drop elsewhere, it cannot let in.",
        allow_abbrev=False,
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--load", action="store_true", help="load it in place of the one that is there"
    )
    which.add_argument("--remove", action="store_true", help="take it away")


def run(args: argparse.Namespace) -> int:
    """Of files that cannot be used, what counted last is loaded, as every process begins with it.
    ConfigError where nothing did, and for who wants to see the table; KernelError when nft
    refuses."""
    if args.remove:
        if hands.is_loaded():
            hands.run(ownrules.removal())
        return EXIT_OK
    begun = begin(args.config_dir, args.state_dir)
    if begun.form is None or (begun.unusable and not args.load):
        raise ConfigError(
            f"the configuration cannot be used: {counted(begun.problems)}",
            hint="`carpool check` tells",
        )
    text = ownrules.text(begun.form.config)
    if begun.unusable:
        print(f"carpool: {begun.unusable}: the table is what counted before", file=sys.stderr)
    if args.load:
        hands.run(text)
    else:
        print(text, end="")
    return EXIT_OK
