"""`carpool doctor`: what would hurt a failover, and how to mend it.

Room: cli. Gathers and prints; `machine/doctor.py` judges.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from carpool.agent.waits import LISTEN_MAX_S
from carpool.api import hostfacts
from carpool.api.terminal import terminal
from carpool.cli.doctorpeers import listened, peers_of
from carpool.errors import EXIT_CONFIG, EXIT_FAILED, EXIT_OK
from carpool.kernel import sysctl, sysctlfile
from carpool.machine import pairchecks, wirechecks
from carpool.machine.doctor import CHECKS, Report, examine
from carpool.machine.facts import Facts
from carpool.model.diagnosis import Setting, Severity
from carpool.model.finding import closest

LISTEN_S = 3.0
EXITS = {Severity.ERROR: EXIT_CONFIG, Severity.WARNING: EXIT_FAILED, Severity.NOTE: EXIT_OK}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `doctor` to the command line."""
    parser = subparsers.add_parser(
        "doctor",
        help="what would hurt a failover, and how to mend it",
        description="Look at this machine, its peers and the wire for what would keep the group "
        "from failing over: what was found, why it matters, and how to mend it. Works before "
        "pairing and with no process running, on what can be seen then. Ends with 0 when "
        "nothing worse than a note was found, 1 for a warning, 3 for an error.",
        epilog="The checks: " + ", ".join(CHECKS) + ". docs/doctor.md describes each.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "checks", nargs="*", type=_check, metavar="CHECK", help="these alone (default: all)"
    )
    parser.add_argument("--json", action="store_true", help="as JSON on stdout")
    parser.add_argument(
        "--fix",
        action="store_true",
        help="put right what is safe: kernel settings, now and in a file of /etc/sysctl.d",
    )
    parser.add_argument(
        "--listen",
        type=_seconds,
        default=LISTEN_S,
        metavar="SECONDS",
        help=f"how long to listen on the wires, 0 to {LISTEN_MAX_S:g} ({LISTEN_S:g})",
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=os.environ.get("CARPOOL_ROOT") or "/",
        help="where etc/sysctl.d is, in place of / ($CARPOOL_ROOT)",
    )


def run(args: argparse.Namespace) -> int:
    """Look, tell, and with --fix mend. Raises KernelError."""
    names = args.checks or list(CHECKS)
    report = examine(_gather(args, names), names)
    file = sysctlfile.path_below(args.root)
    fixes = report.settings if args.fix else ()
    if args.json:
        _fix(file, fixes)
        left = report.after(fixes)
        print(json.dumps(_as_json(report, fixes), indent=1))
        return _exit(left)
    from carpool.api import renderdoctor

    console = terminal()
    console.print(renderdoctor.findings(report))
    for setting in fixes:
        print(f"--fix: {setting.key}: {sysctl.read(setting.key)} -> {setting.value}, and in {file}")
    _fix(file, fixes)
    left = report.after(fixes)
    fixed = len(report.findings) - len(left.findings)
    console.print(renderdoctor.verdict(left, fixed=fixed), soft_wrap=True)
    return _exit(left)


def _gather(args: argparse.Namespace, names: Sequence[str]) -> Facts:
    """All that these checks need."""
    facts = hostfacts.gather(args.config_dir, args.run_dir, names)
    if (pairchecks.NAMES | {"multicast"}) & {*names}:
        facts = replace(facts, peers=peers_of(facts.config, args.run_dir))
    if wirechecks.NAMES & {*names}:
        if args.listen and sys.stderr.isatty():
            print(f"listening for {args.listen:g} s ...", file=sys.stderr)
        heard, peers_heard = listened(
            facts.config, args.run_dir, args.listen, peers="multicast" in names
        )
        facts = replace(facts, heard=heard, peers_heard=peers_heard, listened_s=args.listen)
    return facts


def _seconds(word: str) -> float:
    seconds = float(word)  # argparse tells of a ValueError
    if not 0 <= seconds <= LISTEN_MAX_S:
        raise argparse.ArgumentTypeError(f"{word}: expected 0 to {LISTEN_MAX_S:g}")
    return seconds


def _check(word: str) -> str:
    if word not in CHECKS:
        near = closest(word, CHECKS) or f"expected one of {', '.join(CHECKS)}"
        raise argparse.ArgumentTypeError(f"no check {word!r}: {near}")
    return word


def _fix(file: Path, settings: Sequence[Setting]) -> None:
    """For the next boots first: what holds now is to hold then."""
    if settings:
        sysctlfile.remember(file, settings)
    for setting in settings:
        sysctl.write(setting.key, setting.value)


def _exit(report: Report) -> int:
    return EXIT_OK if report.worst is None else EXITS[report.worst]


def _as_json(report: Report, fixed: Sequence[Setting]) -> dict[str, object]:
    return {
        "ok": _exit(report.after(fixed)) == EXIT_OK,
        "checks": list(report.checks),
        "findings": [asdict(one) for one in report.findings],
        "skipped": [asdict(one) for one in report.skipped],
        "fixed": [asdict(one) for one in fixed],
    }
