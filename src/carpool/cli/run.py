"""`carpool run failover|states|agent|web`: load the configuration, then become that process.

Room: cli. Never starts with a configuration that has a fatal problem; loads the standard library
and what the process itself needs, nothing else.
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path

from carpool.api.running import Beginning, RunningFiles, begin, read
from carpool.cli.problems import counted, told
from carpool.errors import EXIT_CONFIG, EXIT_OK, CarpoolError
from carpool.kernel.notify import Notify
from carpool.service.groupchange import Form

PROCESSES = ("failover", "states", "agent", "web")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `run` to the command line."""
    parser = subparsers.add_parser(
        "run",
        help="run a process of this node in the foreground",
        description="Run a process of this node in the foreground, until SIGTERM or SIGINT: "
        "failover moves the addresses, states replicates connections, agent synchronises "
        "configuration, web serves the pages.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "process", choices=PROCESSES, metavar="PROCESS", help="failover, states, agent or web"
    )
    parser.add_argument(
        "--root",
        type=Path,
        metavar="DIR",
        default=os.environ.get("CARPOOL_ROOT") or "/",
        help="agent: where the files to synchronise are, in place of / ($CARPOOL_ROOT)",
    )


def run(args: argparse.Namespace) -> int:
    """Until the process ends. With files that cannot be used it goes by what counted last; where
    nothing did, it waits for them under systemd, and elsewhere it is EXIT_CONFIG. All problems are
    on stderr."""
    if args.process == "web":  # may read no file of the group, and needs none
        return _web(args)
    begun = begin(args.config_dir, args.state_dir)
    for problem in begun.problems:
        print(told(problem, args.config_dir), file=sys.stderr)
    if begun.form is None:
        return _wait(args, begun)
    if begun.unusable:
        print(f"carpool: {args.process} goes by what counted before", file=sys.stderr)
    try:
        return _run(args, begun, begun.form)
    except CarpoolError as error:
        Notify().last_words(f"TROUBLE: it ended: {error.message}")
        raise


def _web(args: argparse.Namespace) -> int:
    from carpool.web import idle

    notify = Notify()
    idle.wait(args.run_dir, notify)
    from carpool.web import server  # now that there is something to serve

    return server.run(args.run_dir, args.state_dir, notify)


def _wait(args: argparse.Namespace, begun: Beginning) -> int:
    """systemd starts it once, and whoever mends the files need not know that."""
    counts = counted(begun.problems)
    if "NOTIFY_SOCKET" not in os.environ:
        print(f"carpool: {args.process} does not start: {counts}", file=sys.stderr)
        return EXIT_CONFIG
    print(f"carpool: {args.process} waits for a configuration: {counts}", file=sys.stderr)
    from carpool import daemon

    def unusable() -> str:
        found = begin(args.config_dir, args.state_dir)
        return "" if found.form is not None else found.unusable

    return daemon.wait_for_files(args.process, unusable)


def _run(args: argparse.Namespace, begun: Beginning, form: Form) -> int:
    config = form.config
    if args.process == "states" and (config.group.states is None or not config.node.peers):
        why = "group.toml has no [states]" if config.node.peers else "node.toml names no peer"
        print(f"carpool: {why}: nothing to replicate", file=sys.stderr)
        Notify().ready()  # or systemd takes it for a failure
        return EXIT_OK
    if args.process == "agent":
        from carpool.agent import server  # what the other processes never load

        directories = {name: getattr(args, name) for name in ("config_dir", "run_dir", "state_dir")}
        group = form.texts.group if begun.unusable else None
        return server.run(config, **directories, root=args.root, group_text=group)
    from carpool import daemon

    if args.process == "failover":
        files = RunningFiles(args.config_dir, args.state_dir)
        return daemon.run_failover(form, files, args.run_dir, args.state_dir, begun.unusable)
    again = partial(read, args.config_dir)
    return daemon.run_states(config, args.run_dir, args.config_dir, again)
