"""What is measured: the rows, and one run of all of them, beside rsync.

Room: lab. Commands are run as an operator runs them and timed from outside, the start of the
program included. The limits are those that the project has set itself.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from carpool.agent.localclient import LocalClient
from carpool.errors import CarpoolError
from carpool.kernel.clock import monotonic_s
from carpool.lab import cost
from carpool.lab.figures import Better, Row, Samples
from carpool.lab.firewall import AGENT, ROLES
from carpool.lab.lab import Lab
from carpool.lab.statesbench import limits
from carpool.lab.syncbench import rsync
from carpool.lab.syncbench.load import TREE, Load
from carpool.lab.syncbench.rsync import Rsync
from carpool.lab.syncbench.timed import Took, timed
from carpool.lab.topology import FIREWALLS

PRIMARY, BACKUP = FIREWALLS
HISTORY_WAIT_S = 300.0
Found = dict[str, float]  # by key of a row; "KEY/NAME" is of contender NAME


def _row(key: str, measure: str, limit: float | None = None, *, beside: str = "rsync") -> Row:
    peers = (beside,) if beside else ()
    return Row(key, measure, "s", Better.LESS, limit, key == "full", peers)


ROWS = (
    _row("full", "first full sync", 1.5),
    _row("safe", "the same, beside `rsync --fsync`", beside="rsync --fsync"),
    _row("full_cpu", "CPU of it, both nodes"),
    _row("history", "until the history of both nodes has it", beside=""),
    _row("same_diff", "diff, nothing changed"),
    _row("same_sync", "sync, nothing changed"),
    _row("line_diff", "diff of one changed line", 1.0),
    _row("line_sync", "sync of one changed line", 2.0),
    _row("status", "carpool status", beside=""),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """A lab whose agents have the load to synchronise, and an rsync daemon."""

    lab: Lab
    load: Load
    rsync: Rsync

    def carpool(self, *words: str) -> Took:
        firewall = self.lab.firewalls[PRIMARY]
        return timed(["ip", "netns", "exec", firewall.namespace, *firewall.carpool(*words)])

    def sync(self, outcome: str) -> Took:
        """Raises CarpoolError when it does not end so."""
        took = self.carpool("sync", "--json")
        events = [json.loads(line) for line in took.said.splitlines()]
        ends = [event["outcome"] for event in events if event["step"] == "end"]
        if ends != [outcome]:
            raise CarpoolError(f"the sync ended with {ends}, expected {outcome}: {took.said}")
        return took

    def afresh(self) -> None:
        """Agents that never synchronised anything, and nothing on the backup."""
        self.lab.run_only(*ROLES)
        for name, firewall in self.lab.firewalls.items():
            shutil.rmtree(firewall.state_dir)
            firewall.state_dir.mkdir()
            if name != PRIMARY:
                shutil.rmtree(firewall.files / TREE, ignore_errors=True)
        self.lab.roles = (*ROLES, AGENT)
        for name in FIREWALLS:
            self.lab.start_missing(name)
        self.lab.wait_healthy()
        self.rsync.forget()

    def agents_cpu_s(self) -> float:
        found = [self.lab.tracked(name, AGENT) for name in FIREWALLS]
        return sum(cost.with_children_s(one.pid) for one in found if one is not None)

    def settled(self) -> None:
        """Until the history of both nodes has what was changed: it is written afterwards."""
        for firewall in self.lab.firewalls.values():
            with LocalClient(firewall.run_dir) as agent:
                agent.get("/v1/history", timeout_s=HISTORY_WAIT_S)


@contextmanager
def built(lab: Lab, load: Load) -> Iterator[Stage]:
    """The stage, and nothing of it left afterwards."""
    with limits.raised(wanted={}), lab.held():
        lab.down()
        try:
            lab.up()
            for firewall in lab.firewalls.values():
                group = firewall.config_dir / "group.toml"
                group.write_text(load.group_toml(group.read_text(encoding="utf-8")))
            source = lab.firewalls[PRIMARY].files
            lab.say(f"{load.files} files, {load.size_bytes / 1e6:g} MB, {load.sections} sections")
            load.write(source)
            with rsync.serving(lab, PRIMARY, source / TREE) as there:
                yield Stage(lab, load, there)
        finally:
            lab.down()


def measure(stage: Stage, runs: int) -> Samples:
    """Each run begins with agents that never synchronised anything. Raises CarpoolError."""
    samples: dict[tuple[str, str], list[float]] = defaultdict(list)
    for run in range(1, runs + 1):
        stage.afresh()
        found = _full(stage, run) | _same(stage, run) | _line(stage, run)
        found["status"] = stage.carpool("status", "--json").seconds
        for key, value in found.items():
            name, _, owner = key.partition("/")
            samples[name, owner or "carpool"].append(value)
        told = ", ".join(f"{key} {took:.3g}" for key, took in found.items())
        stage.lab.say(f"run {run}: {told}")
    return samples


def _full(stage: Stage, run: int) -> Found:
    found: Found = {}

    def ours() -> None:
        before_s, begun_s = stage.agents_cpu_s(), monotonic_s()
        took = stage.sync("applied")
        found["full"] = found["safe"] = took.seconds
        stage.settled()
        found["history"] = monotonic_s() - begun_s
        found["full_cpu"] = took.cpu_s + stage.agents_cpu_s() - before_s

    def theirs() -> None:
        before_s = stage.rsync.cpu_s()
        took = stage.rsync.run()
        found["full/rsync"] = took.seconds
        found["full_cpu/rsync"] = took.cpu_s + stage.rsync.cpu_s() - before_s

    _in_turns(run, ours, theirs)
    stage.rsync.forget()
    os.sync()
    found["safe/rsync --fsync"] = stage.rsync.run("--fsync").seconds
    return found


def _same(stage: Stage, run: int) -> Found:
    found: Found = {}

    def ours() -> None:
        found["same_diff"] = stage.carpool("diff", "--json").seconds
        found["same_sync"] = stage.sync("nothing to do").seconds

    def theirs() -> None:
        found["same_diff/rsync"] = stage.rsync.run("--dry-run").seconds
        found["same_sync/rsync"] = stage.rsync.run().seconds

    _in_turns(run, ours, theirs)
    return found


def _line(stage: Stage, run: int) -> Found:
    stage.load.change(stage.lab.firewalls[PRIMARY].files, run)
    found: Found = {}

    def ours() -> None:
        found["line_diff"] = stage.carpool("diff").seconds
        found["line_sync"] = stage.sync("applied").seconds
        stage.settled()

    def theirs() -> None:
        found["line_diff/rsync"] = stage.rsync.run("--dry-run", "--itemize-changes").seconds
        found["line_sync/rsync"] = stage.rsync.run().seconds

    _in_turns(run, ours, theirs)
    return found


def _in_turns(run: int, ours: Callable[[], None], theirs: Callable[[], None]) -> None:
    """Who comes first changes with each run; neither pays for what the other left to be written."""
    for each in (ours, theirs) if run % 2 else (theirs, ours):
        os.sync()
        each()
