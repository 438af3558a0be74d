"""`carpool run failover|states|agent`: load the configuration, then become that process.

Room: cli. Refuses to start with a configuration that has a fatal problem; loads the standard
library and what the process itself needs, nothing else.
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path

from carpool.api.settings import load_texts
from carpool.cli.problems import counted, told
from carpool.errors import EXIT_CONFIG, EXIT_OK

PROCESSES = ("failover", "states", "agent")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `run` to the command line."""
    parser = subparsers.add_parser(
        "run",
        help="run a process of this node in the foreground",
        description="Run a process of this node in the foreground, until SIGTERM or SIGINT: "
        "failover moves the addresses, states replicates connections, agent synchronises "
        "configuration.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "process", choices=PROCESSES, metavar="PROCESS", help="failover, states or agent"
    )
    parser.add_argument(
        "--root",
        type=Path,
        metavar="DIR",
        default=os.environ.get("CARPOOL_ROOT") or "/",
        help="agent: where the files to synchronise are, in place of / ($CARPOOL_ROOT)",
    )


def run(args: argparse.Namespace) -> int:
    """Until the process ends; EXIT_CONFIG, with all problems on stderr, when it may not start."""
    config, problems, texts = load_texts(args.config_dir)
    for problem in problems:
        print(told(problem, args.config_dir), file=sys.stderr)
    if config is None:
        print(f"carpool: {args.process} does not start: {counted(problems)}", file=sys.stderr)
        return EXIT_CONFIG
    if args.process == "states" and config.group.states is None:
        print("carpool: group.toml has no [states]: nothing to replicate", file=sys.stderr)
        from carpool.kernel.notify import Notify

        Notify().ready()  # or systemd takes it for a failure
        return EXIT_OK
    if args.process == "agent":
        from carpool.agent import server  # what the other processes never load

        directories = {name: getattr(args, name) for name in ("config_dir", "run_dir", "state_dir")}
        return server.run(config, **directories, root=args.root)
    from carpool import daemon
    from carpool.api.running import RunningFiles, read

    if args.process == "failover":
        from carpool.service.groupchange import Form

        files = RunningFiles(args.config_dir, args.state_dir)
        return daemon.run_failover(Form(config, texts), files, args.run_dir, args.state_dir)
    again = partial(read, args.config_dir)
    return daemon.run_states(config, args.run_dir, args.config_dir, again)
