"""`script/bench`: what carpool promises, measured in a lab; exits non-zero when it is not kept.

Room: lab. `failover`: the drills, and what the failover process costs while nothing happens.
`states`: replication beside conntrackd. `sync`: configuration beside rsync. `bfd`: sessions alone.
Knows the promises of the first; how they are measured is in `drill.py`, `statesbench/`,
`syncbench/` and `bfdbench.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from carpool.api.terminal import terminal
from carpool.errors import EXIT_FAILED, EXIT_OK, CarpoolError
from carpool.kernel.clock import monotonic_s, sleep_s
from carpool.lab import beside, bfdbench, drill, figures, keepalived, report
from carpool.lab.channel import Report
from carpool.lab.cost import cpu_s, family, memory_kb
from carpool.lab.faults import SCENARIOS
from carpool.lab.lab import Lab
from carpool.lab.statesbench.limits import Ended
from carpool.lab.statesbench.measures import MEASURES, SMALL, Sizes
from carpool.lab.statesbench.plan import measure
from carpool.lab.statesbench.stage import built
from carpool.lab.syncbench import load as syncload
from carpool.lab.syncbench import measures as syncmeasures
from carpool.lab.topology import FIREWALLS
from carpool.model.config import Family

DISK = Path("/var/tmp")  # noqa: S108 (the lab makes a directory of its own in it)
CONNECTIONS = 200
IDLE_S = 30.0
DRILLS = tuple(SCENARIOS)
PROMISED_GAPS_MS = (("crash", 3500.0), ("switchover", 20.0), ("flap", 20.0), ("stop", 20.0))


@dataclass(frozen=True, slots=True)
class Promise:
    """One figure with its limit; the worst of all runs is held against it."""

    what: str
    limit: float
    unit: str
    found: float | None  # None: it never happened

    @property
    def kept(self) -> bool:
        return self.found is not None and self.found <= self.limit


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="script/bench", description=__doc__)
    benches = parser.add_subparsers(dest="bench", required=True)
    failover = benches.add_parser("failover", help="gaps, survivors, and what idling costs")
    failover.add_argument("--runs", type=int, default=10, metavar="N", help="of each drill (10)")
    failover.add_argument("--drill", action="append", choices=DRILLS, help="only these drills")
    failover.add_argument("--beside", choices=("keepalived",), help="crash, stop, moves of both")
    failover.add_argument("--detect", type=int, default=0, metavar="MS", help="of carpool, times 3")
    failover.add_argument("--advert", type=int, default=100, metavar="MS", help="its own (100)")
    failover.add_argument("--markdown", action="store_true", help="with --beside: its table")
    failover.add_argument("--name", default="carpool-bench", help="of the lab")
    failover.add_argument("--json", action="store_true", help="JSON on stdout, progress on stderr")
    states = benches.add_parser("states", help="replication of connections, beside conntrackd")
    states.add_argument("--runs", type=int, default=5, metavar="N", help="of each measure (5)")
    names = [measure.name for measure in MEASURES]
    states.add_argument("--measure", action="append", choices=names, help="only these")
    states.add_argument("--only", action="append", metavar="TEXT", help="contenders so named")
    states.add_argument("--small", action="store_true", help="tiny loads: to see that it works")
    states.add_argument("--name", default="carpool-bench", help="of the lab")
    states.add_argument("--json", action="store_true", help="JSON on stdout, progress on stderr")
    states.add_argument("--markdown", action="store_true", help="the table of docs/benchmarks.md")
    sync = benches.add_parser("sync", help="synchronising configuration, beside rsync")
    sync.add_argument("--runs", type=int, default=5, metavar="N", help="of everything (5)")
    sync.add_argument("--small", action="store_true", help="few files: to see that it works")
    sync.add_argument("--name", default="carpool-bench", help="of the lab")
    sync.add_argument("--directory", type=Path, default=DISK, help=f"of all files ({DISK})")
    sync.add_argument("--json", action="store_true", help="JSON on stdout, progress on stderr")
    sync.add_argument("--markdown", action="store_true", help="the table of docs/benchmarks.md")
    bfd = benches.add_parser("bfd", help="what BFD sessions cost, and how soon they detect")
    bfd.add_argument("--runs", type=int, default=10, metavar="N", help="deaths to detect (10)")
    bfd.add_argument("--links", type=int, default=3, metavar="N", help="between two nodes (3)")
    bfd.add_argument("--interval", type=float, default=10.0, metavar="MS", help="times 3 (10)")
    bfd.add_argument("--both-families", action="store_true", help="a session for each, not one")
    bfd.add_argument("--seconds", type=float, default=IDLE_S, help=f"of idling ({IDLE_S:g})")
    arguments = parser.parse_args(argv)
    benches_of = {"failover": _failover, "states": _states, "sync": _sync, "bfd": _bfd}
    try:
        return benches_of[arguments.bench](arguments)
    except CarpoolError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, Ended):
        return 130


def _failover(arguments: argparse.Namespace) -> int:
    drill.check_size(CONNECTIONS, arguments.runs)
    if arguments.beside:
        return _beside(arguments)
    lab = Lab(arguments.name, lambda text: print(text, file=sys.stderr, flush=True))
    with lab.held():
        lab.down()
        try:
            lab.up(**_detecting(arguments.detect))
            idle = {name: idle_cost(lab, name) for name in FIREWALLS}
            names = arguments.drill or DRILLS
            reports = [
                drill.run_drill(lab, SCENARIOS[name], CONNECTIONS, arguments.runs) for name in names
            ]
        finally:
            lab.down()
    promises = judge(reports, idle)
    if arguments.json:
        kept = [{**asdict(promise), "kept": promise.kept} for promise in promises]
        found = {"machine": machine(), "idle": idle, "scenarios": reports, "promises": kept}
        print(json.dumps(found, indent=1))
    else:
        console = terminal(markup=True)
        console.print(report.drills_table(reports))
        console.print(promises_table(promises))
    return EXIT_OK if all(promise.kept for promise in promises) else EXIT_FAILED


def _beside(arguments: argparse.Namespace) -> int:
    keepalived.require()
    names = [name for name in arguments.drill or beside.FAULTS if name in beside.FAULTS]
    lab = Lab(arguments.name, lambda text: print(text, file=sys.stderr, flush=True))
    root = lab.labs_dir / f"{lab.name}-keepalived"
    with lab.held():
        lab.down()
        try:
            lab.up(**_detecting(arguments.detect))
            with keepalived.Keepalived(root.name, root, arguments.advert) as peer:
                found = beside.measure(lab, peer, names, arguments.runs, CONNECTIONS)
        finally:
            lab.down()
    lines = beside.entries(found, arguments.detect)
    if arguments.json:
        about = {"machine": machine(), "detect_ms": arguments.detect, "advert_ms": arguments.advert}
        print(json.dumps({**about, "table": lines, "runs": found}, indent=1))
    elif arguments.markdown:
        print(beside.markdown(lines))
    else:
        title = f"failover, {arguments.runs} runs each, keepalived at {arguments.advert} ms"
        terminal(markup=True).print(beside.table(lines, title))
    return EXIT_OK if all(line["met"] for line in lines) else EXIT_FAILED


def _detecting(interval_ms: int) -> dict[str, Any]:
    """What a lab is built with; CarpoolError where it detects nothing."""
    if interval_ms and "detect_ms" not in inspect.signature(Lab.up).parameters:
        raise CarpoolError("the lab of this carpool has no detection", hint="leave out --detect")
    return {"detect_ms": interval_ms} if interval_ms else {}


def _states(arguments: argparse.Namespace) -> int:
    chosen = [entry for entry in MEASURES if entry.name in (arguments.measure or [entry.name])]
    lab = Lab(arguments.name, lambda text: print(text, file=sys.stderr, flush=True))
    with built(lab) as stage:
        sizes = SMALL if arguments.small else Sizes()
        samples = measure(stage, chosen, arguments.runs, sizes, arguments.only or [""])
    entries = [figures.judge(row, samples) for entry in chosen for row in entry.rows]
    return _tell(entries, "connection state", arguments)


def _sync(arguments: argparse.Namespace) -> int:
    """On a disk: the usual place of labs is in memory on most machines."""
    load = syncload.SMALL if arguments.small else syncload.Load()
    labs = arguments.directory / "carpool-bench"
    if not arguments.directory.is_dir():
        raise CarpoolError(f"{arguments.directory} is no directory", hint="name one on a disk")
    lab = Lab(arguments.name, lambda text: print(text, file=sys.stderr, flush=True), labs)
    try:
        with syncmeasures.built(lab, load) as stage:
            samples = syncmeasures.measure(stage, arguments.runs)
    finally:
        with contextlib.suppress(OSError):  # not made, or another lab is in it
            labs.rmdir()
    entries = [figures.judge(row, samples) for row in syncmeasures.ROWS]
    return _tell(entries, "synchronising configuration", arguments)


def _bfd(arguments: argparse.Namespace) -> int:
    families = tuple(Family) if arguments.both_families else (Family.IPV4,)
    asked = arguments.links, arguments.interval, families, arguments.runs, arguments.seconds
    print(json.dumps({**bfdbench.measure(*asked), **machine()}, indent=1))
    return EXIT_OK


def _tell(entries: Sequence[Report], title: str, arguments: argparse.Namespace) -> int:
    """In the form that is asked for; the exit code."""
    if arguments.json:
        print(json.dumps(entries, indent=1))
    elif arguments.markdown:
        print(figures.markdown(entries))
    else:
        terminal(markup=True).print(figures.table(entries, title))
    return EXIT_OK if all(entry["met"] for entry in entries) else EXIT_FAILED


# -------------------------------------------------------------------------------- judgement


def judge(reports: Sequence[Report], idle: dict[str, Report]) -> list[Promise]:
    """Every promise about what was measured, with the worst of what was found."""
    runs = {entry["scenario"]: entry["runs"] for entry in reports}
    found: list[Promise] = []
    for name, limit in PROMISED_GAPS_MS:
        if name in runs:
            gaps = [run["gap_ms"] for run in runs[name]]
            found.append(Promise(f"{name}: gap", limit, "ms", max(gaps)))
    if "kill" in runs:
        found.append(Promise("kill: taken over", 300.0, "ms", _worst_take_over(runs["kill"])))
    for name, results in runs.items():
        lost = sum(
            run[kind]["opened"] - run[kind]["survived"]
            for run in results
            for kind in ("connections", "young")
        )
        found.append(Promise(f"{name}: connections lost", 0, "", lost))
    for name, cost in idle.items():
        found.append(Promise(f"{name} idle: failover CPU", 1.0, "% of a core", cost["cpu_percent"]))
        found.append(Promise(f"{name} idle: failover memory", 40.0, "MB", cost["pss_mb"]))
    return found


def _worst_take_over(runs: Sequence[Report]) -> float | None:
    times = [run["took_over_ms"] for run in runs]
    return None if None in times else max(times)


def promises_table(promises: Sequence[Promise]) -> Table:
    table = Table(title="what carpool promises", title_justify="left")
    table.add_column("promise")
    table.add_column("at most", justify="right")
    table.add_column("worst found", justify="right")
    table.add_column("")
    for promise in promises:
        worst = "never" if promise.found is None else f"{promise.found:.2f} {promise.unit}"
        verdict = f"[{report.GOOD}]kept[/]" if promise.kept else f"[{report.BAD}]BROKEN[/]"
        table.add_row(promise.what, f"{promise.limit:g} {promise.unit}", worst, verdict)
    return table


# --------------------------------------------------------------------------------- idle cost


def idle_cost(lab: Lab, name: str, seconds: float = IDLE_S) -> Report:
    """CPU share over `seconds`, and memory, of a node's failover process: guard and worker."""
    guard = lab.tracked(name, "failover")
    if guard is None:
        raise CarpoolError(f"failover on {name} does not run")
    pids = family(guard.pid)
    lab.say(f"{name}: what {len(pids)} idle failover processes cost, for {seconds:.0f} s")
    begun_s, before_s = monotonic_s(), sum(cpu_s(pid) for pid in pids)
    until_s = begun_s + seconds
    while monotonic_s() < until_s:
        sleep_s(min(0.5, max(0.0, until_s - monotonic_s())))
    spent_s, passed_s = sum(cpu_s(pid) for pid in pids) - before_s, monotonic_s() - begun_s
    return {
        "processes": len(pids),
        "cpu_percent": round(100 * spent_s / passed_s, 3),
        "pss_mb": round(sum(memory_kb(pid, "Pss") for pid in pids) / 1000, 2),
        "rss_mb": round(max(memory_kb(pid, "Rss") for pid in pids) / 1000, 2),
    }


def machine() -> Report:
    return {
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    sys.exit(main())
