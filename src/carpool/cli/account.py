"""`carpool account reset`: a way back to the pages for who lost password, app and recovery codes.

Room: cli. Whoever is root on the node may: it writes the file of accounts, which the pages read
again within seconds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from carpool.errors import EXIT_OK, CarpoolError

OF_FAILOVER = Path("/var/lib/carpool")
OF_PAGES = Path("/var/lib/carpool-web")  # as carpool-web.service has it


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `account` to the command line."""
    parser = subparsers.add_parser(
        "account",
        help="give an account of the pages another one-time password",
        description="Accounts of the pages of this node.",
        allow_abbrev=False,
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    reset = verbs.add_parser(
        "reset",
        help="print a new one-time password, and take second factor and tokens off",
        description="Print a password for an account of the pages that is good for one login. Its "
        "old password, its second factor and its tokens end, and it is logged out.",
        allow_abbrev=False,
    )
    reset.add_argument("name", metavar="NAME", help="of the account, such as admin")


def run(args: argparse.Namespace) -> int:
    """Print the password. Raises CarpoolError."""
    from carpool.web.accounts import FILE, Accounts, one_time_password  # argon2, for this verb

    directory = OF_PAGES if args.state_dir == OF_FAILOVER else args.state_dir
    if not (directory / FILE).exists():
        raise CarpoolError(
            f"there is no {directory / FILE}",
            hint="the first start of `carpool run web` makes it, and the account admin",
        )
    accounts = Accounts(directory)
    password = one_time_password()
    accounts.open(one_time_password)
    if accounts.find(args.name) is None:
        there = ", ".join(one.name for one in accounts.all())
        raise CarpoolError(f"there is no account {args.name[:64]!r}", hint=f"there are: {there}")
    accounts.reset(args.name, password)
    print(f"{args.name} logs in with the one-time password {password}")
    return EXIT_OK
