"""A process that wants a whole core, at normal priority, until its lab is gone.

Room: lab. What any program of a firewall may do that has run wild.
"""

from __future__ import annotations

from carpool.lab.channel import Commands

ROUNDS = 200_000  # some milliseconds


def run_hog() -> int:
    commands = Commands()
    commands.report({"kind": "stats", "ready": True})
    while not commands.ended:
        for _number in range(ROUNDS):
            pass
        commands.read()
    return 0
