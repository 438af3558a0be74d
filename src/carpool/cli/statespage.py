"""`carpool states`: how replication does, once or until it is interrupted.

Room: cli. Asks and prints; what it looks like is `api/renderstates.py`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import NoReturn

from carpool.api.control import STATES, as_json, status
from carpool.api.terminal import terminal
from carpool.errors import EXIT_OK, CarpoolError

WATCH_EVERY_S = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON on stdout")
    form.add_argument("--watch", action="store_true", help="again every second, until Ctrl-C")


def run(args: argparse.Namespace) -> int:
    """Show the page; the exit code of the last error."""
    if args.watch:
        _watch(args.run_dir)
    answer = status(args.run_dir, STATES)
    if args.json:
        print(json.dumps(as_json(answer), indent=1))
    else:
        from carpool.api import renderstates

        terminal().print(renderstates.page(answer))
    return answer.exit_code if isinstance(answer, CarpoolError) else EXIT_OK


def _watch(run_dir: Path) -> NoReturn:
    """Ctrl-C ends it; a process that is gone for a while does not."""
    from rich.live import Live

    from carpool.api import renderstates
    from carpool.kernel.clock import sleep_s

    with Live(console=terminal(), auto_refresh=False, vertical_overflow="visible") as live:
        while True:
            live.update(renderstates.page(status(run_dir, STATES)), refresh=True)
            sleep_s(WATCH_EVERY_S)
