"""`carpool rules`: the nft table that keeps strangers from carpool's ports, shown or loaded.

Room: cli. What is in it is `proto/ownrules.py`; nft loads it.
"""

from __future__ import annotations

import argparse

from carpool.api.settings import load
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
    """ConfigError for files that cannot be used, KernelError when nft refuses."""
    if args.remove:
        if hands.is_loaded():
            hands.run(ownrules.removal())
        return EXIT_OK
    config, problems = load(args.config_dir)
    if config is None:
        raise ConfigError(
            f"the configuration cannot be used: {counted(problems)}", hint="`carpool check` tells"
        )
    if args.load:
        hands.run(ownrules.text(config))
    else:
        print(ownrules.text(config), end="")
    return EXIT_OK
