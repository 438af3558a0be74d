"""`carpool status`: both processes of this node on one screen.

Room: cli. Asks and prints; what it looks like is `api/render.py`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from carpool import __version__
from carpool.api.control import FAILOVER, STATES, Answer, as_json, status
from carpool.api.running import begin
from carpool.api.terminal import terminal
from carpool.cli import drift, pages, scripts, verdict
from carpool.errors import EXIT_OK, CarpoolError, UnreachableError
from carpool.kernel.unitstate import of_unit


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `status` to the command line."""
    parser = subparsers.add_parser(
        "status",
        help="is all well, and if not, what is wrong?",
        description="Show what the processes of this node are doing, and why. Works with one or "
        "both of them down; ends with 4 when failover does not answer. Of the configuration it "
        "tells what the agent knows within two seconds.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Show the status; the exit code is the failover process's."""
    form = begin(args.config_dir, args.state_dir).form
    config = None if form is None else form.config  # what counts, also where a file is broken
    failover = _status(args.run_dir, FAILOVER)
    states: Answer | CarpoolError | None = _status(args.run_dir, STATES)
    if isinstance(states, UnreachableError) and config is not None and config.group.states is None:
        states = None
    asked = drift.ask(args.run_dir, config, drift.AT_ONCE_S)
    stands, waiting = drift.stands(asked), drift.waiting(asked)
    waiting_on = drift.waiting_on(asked)
    agent = _explained(asked, args.run_dir, "agent") if isinstance(asked, CarpoolError) else None
    schedule = drift.schedule(args.run_dir, config, asked)
    around = drift.troubles(args.run_dir, asked)
    survives = None if around is None else verdict.ask(args.run_dir)
    asked_scripts = [] if around is None else list(scripts.ask(args.run_dir))
    if args.json:
        told: dict[str, object] = {"failover": as_json(failover), "states": as_json(states)}
        told |= {"schedule": as_json(schedule), "agent": as_json(agent), "waiting": waiting}
        told |= {"drift": stands, "waiting_on": dict(waiting_on), "troubles": around or []}
        told |= {"verdict": verdict.as_fields(survives)}
        told |= {"checks": scripts.rows(asked_scripts, "checks")}
        told |= {"hooks": scripts.rows(asked_scripts, "hooks"), "installed": __version__}
        print(json.dumps(told, indent=1))
    else:
        from rich.text import Text

        from carpool.api import render, renderscripts

        report = render.Report(
            *(failover, states, config, stands, schedule, agent, waiting, waiting_on),
            trouble=list(renderscripts.trouble(asked_scripts)),
            around=around or [],
            installed=__version__,
        )
        console = terminal()
        for line, style in [] if survives is None else verdict.lines(survives):
            console.print(Text(line, style), soft_wrap=True)
        console.print(render.status(report))
        for line in [] if agent is not None else pages.lines(args.run_dir, config):
            console.print(line, soft_wrap=True)
    return failover.exit_code if isinstance(failover, CarpoolError) else EXIT_OK


def _status(run_dir: Path, process: str) -> Answer | CarpoolError:
    found = status(run_dir, process)
    return _explained(found, run_dir, process) if isinstance(found, CarpoolError) else found


def _explained(error: CarpoolError, run_dir: Path, process: str) -> CarpoolError:
    """With what systemd knows of a process that does not answer."""
    known = of_unit(run_dir, process) if isinstance(error, UnreachableError) else ""
    return type(error)(error.message, hint=known or error.hint)
