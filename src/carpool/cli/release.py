"""`carpool release`: take away what a process that died left in the kernel of this node.

Room: cli. Said by systemd when failover has died (`ExecStopPost=`), by the package when it goes,
and by people. Touches nothing that belongs to a process that runs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from carpool.api.clean import clean_lines
from carpool.api.control import FAILOVER, STATES, status
from carpool.api.running import RunningFiles, begin
from carpool.errors import EXIT_OK, CarpoolError, NotRunningError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `release` to the command line."""
    parser = subparsers.add_parser(
        "release",
        help="take away what a process that died left behind",
        description="Take away what a failover or states process that died left in the kernel: "
        "virtual addresses, which a peer is told to take over first, their devices, nft tables, "
        "changed settings. What belongs to a process that runs is left alone.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "process",
        nargs="?",
        choices=(FAILOVER, STATES),
        metavar="PROCESS",
        help="failover or states; without: both",
    )


def run(args: argparse.Namespace) -> int:
    """Of each that does not run. KernelError when the kernel refuses."""
    for process in (args.process,) if args.process else (FAILOVER, STATES):
        if not isinstance(status(args.run_dir, process), NotRunningError):
            print(f"{process} runs: what it holds is its own")
            continue
        taken = _failovers(args) if process == FAILOVER else _states(args)
        print("\n".join(f"taken away: {one}" for one in taken) or f"nothing is left of {process}")
    return EXIT_OK


def _failovers(args: argparse.Namespace) -> list[str]:
    from carpool.kernel import leftover

    found = leftover.of_failover()
    if found:
        _hand_over(args.config_dir, args.run_dir, args.state_dir)
    more = leftover.take_failovers(args.run_dir)
    return found + [one for one in more if one not in found]


def _states(args: argparse.Namespace) -> list[str]:
    """Who names the process (systemd, at each of its ends) will start it again: what is to last
    over that stays."""
    from carpool.kernel.leftover import take_states
    from carpool.service.states import LASTING_FILE, SYSCTL_FILE

    lasting = None if args.process else args.run_dir / LASTING_FILE
    return take_states(args.run_dir / SYSCTL_FILE, lasting)


def _hand_over(config_dir: Path, run_dir: Path, state_dir: Path) -> None:
    """Gracefully, if what is held is in the configuration; or it is only taken away."""
    begun = begin(config_dir, state_dir)
    if begun.form is None:
        print(f"no peer is told: {config_dir} is not usable; `carpool check` tells more")
        return
    from carpool import daemon

    try:
        daemon.leave(begun.form, RunningFiles(config_dir, state_dir), run_dir, state_dir)
    except CarpoolError as error:
        print(f"no peer is told: {clean_lines(error.message)}")
