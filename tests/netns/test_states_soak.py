"""Churn while cables are cut, processes are killed and the mastership moves: the tables end equal.

`script/soak states MINUTES` runs it for long (CARPOOL_SOAK_MINUTES), the suite for seconds. The
seed is printed; CARPOOL_SOAK_SEED replays a schedule of faults and the choices of the traffic.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from carpool.kernel.clock import monotonic_s
from carpool.proto import ctmessage as ct
from carpool.proto.ctline import entry_line
from tests.netns.churn import Churn, Echoes
from tests.netns.lab import Network, holds_for, wait_until
from tests.netns.pair import TRIO, Pair, StatesNode

MINUTES = float(os.environ.get("CARPOOL_SOAK_MINUTES", "0.3"))
SEED = int(os.environ.get("CARPOOL_SOAK_SEED") or secrets.randbelow(2**31))
EQUAL_WITHIN_S = 30.0
PORTS = frozenset({80, 81, 82, 8080})
FAULTS = ("cut", "silence", "kill", "stop", "pause", "move", "crash", "reboot", "untable", "split")

Key = tuple[ct.Tuple, int | None]
Table = dict[Key, ct.Entry]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something bad, after a pause, for a while, to one node."""

    kind: str
    pause_s: float
    lasts_s: float
    node: int
    other: int


def faults(seed: int) -> Iterator[Fault]:
    """Without end; the same for the same seed."""
    rng = random.Random(seed)
    while True:
        node, other = rng.sample(range(len(TRIO)), 2)
        lasts_s = rng.choice((0.0, 0.1, 0.5, 1.0, 2.0, 6.5))
        yield Fault(rng.choice(FAULTS), rng.uniform(0, 1.5), lasts_s, node, other)


def wait_s(duration_s: float) -> None:
    """The length of a fault is part of the schedule, not a guess at when something is done."""
    holds_for(lambda: True, duration_s)


class Soak:
    """The group under fault. At any time at most one node is master, but in a split."""

    def __init__(self, trio: Pair) -> None:
        self.trio = trio
        self.master = trio.nodes[0]
        self.done: Counter[str] = Counter()
        self.told: list[str] = []

    def suffer(self, fault: Fault) -> None:
        node, other = self.trio.nodes[fault.node], self.trio.nodes[fault.other]
        self.done[fault.kind] += 1
        self.told.append(f"{fault.kind} {node.name} {other.name} {fault.lasts_s:g} s")
        wait_s(fault.pause_s)
        match fault.kind:
            case "cut":  # both ends learn it
                with self.port(node, "down", "up"):
                    wait_s(fault.lasts_s)
            case "silence":  # nobody is told
                with self.port(node, "nomaster", "master br0"):
                    wait_s(fault.lasts_s)
            case "kill":
                node.stop(signal.SIGKILL)
                wait_s(fault.lasts_s)
                node.start()
            case "stop":
                assert node.stop() == 0, node.output
                wait_s(fault.lasts_s)
                node.start()
            case "pause":
                assert node.process is not None
                os.kill(node.process.pid, signal.SIGSTOP)
                wait_s(fault.lasts_s)
                os.kill(node.process.pid, signal.SIGCONT)
            case "move":
                self.move(node)
            case "crash":  # it dies with all that it was about to tell, and keeps its table
                node.stop(signal.SIGKILL)
                if node is self.master:
                    self.move(other)
                wait_s(fault.lasts_s)
                node.start()
            case "reboot":
                node.stop(signal.SIGKILL)
                if node is self.master:
                    self.move(other)
                node.namespace.run("conntrack", "-F")
                wait_s(fault.lasts_s)
                node.start()
            case "untable":
                argv = ("nft", "delete", "table", "inet", "carpool_states")
                node.namespace.run(*argv, check=False)  # it may just be on its way back
            case _:  # two who are both master and do not hear each other
                self.split(node, fault.lasts_s)

    def move(self, new: StatesNode) -> None:
        """Make before break, as failover does it."""
        old = self.master
        if new is not old:
            self.take(old, new)
            self.be(old, False)

    def split(self, new: StatesNode, lasts_s: float) -> None:
        old = self.master
        if new is old:
            return
        with self.port(new, "nomaster", "master br0"):
            self.take(old, new)
            wait_s(lasts_s)
        wait_s(random.Random(lasts_s).uniform(0, 2))  # until failover has heard of the other
        self.be(old, False)

    def take(self, old: StatesNode, new: StatesNode) -> None:
        """States hear of it before the first packet comes, as failover tells them."""
        self.be(new, True)
        wait_until(lambda: new.status()["master"], 10, f"{new.name} knows that it is master")
        self.trio.move(old, new)
        self.master = new

    def be(self, node: StatesNode, master: bool) -> None:
        assert node.failover is not None
        node.failover.be(master)

    @contextmanager
    def port(self, node: StatesNode, off: str, on: str) -> Iterator[None]:
        """A port of the switch of the sync link."""
        switch = self.trio.network.hosts["sync"]
        port = f"p{self.trio.nodes.index(node)}"
        switch.run("ip", "link", "set", port, *off.split())
        try:
            yield
        finally:
            switch.run("ip", "link", "set", port, *on.split())

    def everything_lives_on(self, churn: Churn) -> None:
        """Once the tables are equal, all connections pass through whichever node is master."""
        churn.drop_lost()
        assert churn.open > 20
        for node in (*self.trio.nodes, self.trio.nodes[0]):
            self.move(node)
            self.swept(node)
            lost = churn.drop_lost()
            assert not lost, f"{lost} of {churn.open + lost} connections died with {node.name}"

    def swept(self, node: StatesNode) -> None:
        wait_until(lambda: node.status()["window_check"] == "on", 10, f"{node.name} has swept")

    def differences(self, churn: Churn, *, dead: bool) -> list[str]:
        """Between the master's table and each other's: of living connections, or all."""
        living = churn.ends()
        ours = table(self.master)
        found: list[str] = []
        for node in self.trio.nodes:
            theirs = table(node)
            for key in ours.keys() | theirs.keys():
                here, there = ours.get(key), theirs.get(key)
                # What the master lost in a take-over may have begun anew there, not assured yet.
                lives = here and (key[0].protocol, key[0].sport, key[0].dport) in living
                if content(here) != content(there) and (lives or dead):
                    word = "living" if lives else "dead"
                    found.append(
                        f"{word}: {self.master.name}: {shown(here)}; {node.name}: {shown(there)}"
                    )
        return found


def table(node: StatesNode) -> Table:
    """What travels, by tuple."""
    return {
        (entry.orig, entry.zone): entry
        for entry in node.entries()
        if entry.orig.protocol in (ct.IP_TCP, ct.IP_UDP)
        and entry.orig.dport in PORTS
        and entry.assured
    }


def content(entry: ct.Entry | None) -> tuple[ct.Tuple, int] | None:
    """What must be the same: translation and mark. Timeouts and states move on by themselves."""
    return None if entry is None else (entry.reply, entry.mark)


def shown(entry: ct.Entry | None) -> str:
    return "none" if entry is None else entry_line(entry)


@pytest.fixture
def trio(network: Network, tmp_path: Path) -> Iterator[Pair]:
    made = Pair(network, tmp_path, TRIO)
    for node in made.nodes:
        for name in ("fin_wait", "close_wait", "last_ack", "time_wait", "close"):
            node.namespace.sysctl(f"net/netfilter/nf_conntrack_tcp_timeout_{name}", 2)
    yield made
    made.close()


@pytest.mark.long
@pytest.mark.timeout(MINUTES * 60 + 180)
def test_tables_are_equal_in_the_end(trio: Pair) -> None:
    say(f"CARPOOL_SOAK_SEED={SEED} CARPOOL_SOAK_MINUTES={MINUTES:g}")
    trio.start()
    echoes = Echoes()
    echoes.listen(trio.server, (80, 81, 82, 8080))
    echoes.listen(trio.client, (80, 8080))
    echoes.start()
    churn = Churn(trio, SEED)
    churn.start()
    soak = Soak(trio)
    until_s = monotonic_s() + MINUTES * 60
    try:
        for fault in faults(SEED):
            if monotonic_s() > until_s:
                break
            soak.suffer(fault)
        churn.stop()
        say(f"opened {churn.opened}, failed {churn.failed}, lost {churn.lost}, {soak.done}")
        say(f"{churn.open} connections are open")
        wait_until(lambda: all(node.whole() for node in trio.nodes), 20, "all have all tables")
        equal(soak, churn)
        soak.everything_lives_on(churn)
    except AssertionError:
        show(soak, churn)
        raise
    finally:
        churn.stop()
        churn.close()
        echoes.stop()


def equal(soak: Soak, churn: Churn) -> None:
    """By itself what lives is everywhere; a walk mends what is left of the dead (by the clock it
    comes every five minutes)."""

    def same(*, dead: bool) -> bool:
        return not soak.differences(churn, dead=dead)

    wait_until(lambda: same(dead=False), EQUAL_WITHIN_S, "all that lives is everywhere")

    def mended() -> bool:  # what is not assured on the master may end there meanwhile, untold
        for result in soak.master.ask("resync", peer=None)["results"]:
            assert result["error"] is None, result
        return same(dead=True)

    wait_until(mended, EQUAL_WITHIN_S, "equal tables")
    for result in soak.master.ask("verify", peer=None)["results"]:
        assert result["error"] is None and not any(result["counts"].values()), result


def say(*lines: object) -> None:
    """Shown by pytest when the test fails, and by script/soak always."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def show(soak: Soak, churn: Churn) -> None:
    found = sorted(soak.differences(churn, dead=True), reverse=True)  # the living first
    say(f"master is {soak.master.name}, {len(table(soak.master))} entries; {len(found)} differ")
    say(*found[:20], *soak.told[-20:])
    for node in soak.trio.nodes:
        say(f"{node.name} {node.status()}")
        node.stop()
        say(node.output[-3000:])
