"""`carpool metrics`: what the processes tell, in the text format of Prometheus.

Room: cli. Prints it, or keeps a file for the textfile collector of node_exporter; what there is to
tell is `api/metrics.py`.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from carpool.api import metrics
from carpool.api.control import FAILOVER, STATES, Answer, status
from carpool.api.running import begin
from carpool.cli import drift, scripts
from carpool.errors import EXIT_OK, CarpoolError, UnreachableError

DRIFT_WAIT_S = 5.0  # less than Prometheus is used to wait for somebody


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `metrics` to the command line."""
    parser = subparsers.add_parser(
        "metrics",
        help="status and states, for Prometheus",
        description="Print metrics of all processes in the text format of Prometheus. A process "
        "that does not answer is told as carpool_up 0, and is no failure of this command.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write it there in one step: NAME.prom, for the textfile collector of node_exporter",
    )


def run(args: argparse.Namespace) -> int:
    """Print or write the metrics. CarpoolError when the file cannot be written."""
    answers: dict[str, Answer | CarpoolError] = {
        process: status(args.run_dir, process) for process in (FAILOVER, STATES)
    }
    form = begin(args.config_dir, args.state_dir).form
    config = None if form is None else form.config  # what counts, also where a file is broken
    agent = drift.ask(args.run_dir, config, DRIFT_WAIT_S)
    if agent is not None:
        answers[metrics.AGENT] = agent
    schedule = drift.schedule(args.run_dir, config, agent)
    around = drift.troubles(args.run_dir, agent)
    if isinstance(schedule, dict):  # peers may be slow to say how they stand
        answers[metrics.AGENT] = {
            **(agent if isinstance(agent, dict) else {}),
            "schedule": schedule,
        }
    more: list[Answer] = []
    if around is not None:
        more = [{"troubles": around}, *scripts.ask(args.run_dir)]
    for told in more:
        agent = answers.get(metrics.AGENT)
        answers[metrics.AGENT] = {**(agent if isinstance(agent, dict) else {}), **told}
    if isinstance(answers[STATES], UnreachableError):
        if config is not None and config.group.states is None:
            del answers[STATES]  # nobody asked for it
    text = metrics.text(answers)
    if args.output is None:
        print(text, end="")
    else:
        _replace(args.output, text)
    return EXIT_OK


def _replace(path: Path, text: str) -> None:
    """Whoever reads the file gets the old or the new one, whole."""
    new = path.with_name(f".{path.name}.{os.getpid()}")  # not *.prom: not read before its time
    try:
        try:
            new.write_text(text, encoding="utf-8")
            new.chmod(0o644)
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        raise CarpoolError(
            f"write {path}: {error.strerror}",
            hint="the directory must exist and be writable",
        ) from error
