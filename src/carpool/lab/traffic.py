"""`python -m carpool.lab.traffic ROLE`: the entry of the lab's traffic processes.

Room: lab. Roles and their arguments; what they do is in `probe.py` and `streams.py`.
"""

from __future__ import annotations

import argparse
import sys

from carpool.lab import hog, owners, probe, streams, tap

MANY = ("streams", "tap", "owners")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m carpool.lab.traffic", description=__doc__)
    roles = parser.add_subparsers(dest="role", required=True)
    for role, about in (
        ("probe", "one UDP datagram a millisecond to ADDRESS"),
        ("udp-echo", "answer probes at ADDRESS"),
        ("streams", "TCP connections to each ADDRESS in turn"),
        ("tcp-echo", "answer streams at ADDRESS"),
        ("tap", "see what a master sends into the devices ADDRESS"),
        ("owners", "see when each ADDRESS comes and goes here"),
        ("hog", "take a core: ADDRESS is its number"),
    ):
        added = roles.add_parser(role, help=about)
        added.add_argument("address", nargs="+" if role in MANY else None)
        if role == "streams":
            added.add_argument("--connections", type=int, default=200)
        if role == "probe":
            added.add_argument("--every-ms", type=float, default=1.0)
    arguments = parser.parse_args(argv)
    match arguments.role:
        case "probe":
            return probe.run_probe(arguments.address, arguments.every_ms / 1000)
        case "tap":
            return tap.run_tap(arguments.address)
        case "owners":
            return owners.run_owners(arguments.address)
        case "hog":
            return hog.run_hog()
        case "udp-echo":
            return probe.run_echo(arguments.address)
        case "streams":
            return streams.run_client(arguments.address, arguments.connections)
        case _:
            return streams.run_server(arguments.address)


if __name__ == "__main__":
    sys.exit(main())
