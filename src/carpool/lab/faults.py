"""What can happen to a firewall: each scenario prepares, then strikes at one known instant.

Room: lab. Knows how things break, not how that is measured. `strike` gives the time of the fault,
CLOCK_BOOTTIME seconds.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from carpool.errors import CarpoolError
from carpool.kernel.clock import monotonic_s, sleep_s
from carpool.lab import shell
from carpool.lab.channel import Report
from carpool.lab.lab import PREFERRED, Lab
from carpool.lab.pause import STOPPED_S, Pause, sleep_and_wake
from carpool.lab.topology import LAN, SEGMENTS, Network, Segment, other

VICTIM = PREFERRED
SURVIVOR = other(VICTIM)
TAKE_OVER_WAIT_S = 15.0
RETURN_WAIT_S = 60.0  # boot, duplicate address detection, the whole table, preemption
FLAPS = 6  # even: the last one gives the place back to a node that has seen nothing for a while
FLAP_S = 0.5
POLL_S = 0.01


class Wired(Protocol):
    """Whatever has the cables of a lab."""

    @property
    def network(self) -> Network: ...


class Cutter:
    """An `ip` that has been started and waits for its orders, so that cutting takes no time."""

    def __init__(self, lab: Wired, segments: tuple[Segment, ...], name: str = VICTIM) -> None:
        self._name = name
        self._orders = lab.network.cut_commands(name, segments)
        self._process = subprocess.Popen(
            ["ip", "-n", lab.network.namespace("switch"), "-batch", "-"],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def cut(self) -> None:
        """Give the order; the kernel has executed it within some milliseconds."""
        assert self._process.stdin is not None
        self._process.stdin.write(self._orders)
        self._process.stdin.flush()

    def close(self) -> None:
        """CarpoolError if an order was refused."""
        _, said = self._process.communicate(timeout=shell.COMMAND_TIMEOUT_S)
        if self._process.returncode != 0:
            raise CarpoolError(f"cutting the links of {self._name} failed: {said.strip()}")


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way to lose (or get back) a firewall."""

    name: str
    about: str
    strike: Callable[[Lab, Cutter], float]
    prepare: Callable[[Lab], None] = lambda lab: None
    cuts: tuple[Segment, ...] = ()
    successor: str = SURVIVOR  # who is master of everything afterwards
    comes_back: bool = False  # the victim takes over again by itself within the run
    late: bool = False  # connections feel nothing before the successor moves: that is their fault
    wait_s: float = TAKE_OVER_WAIT_S
    third: bool = False  # it needs a third firewall
    stays: bool = False  # nobody is waited for to take over
    # What goes on after the fault, at that time, and the figures of it. `faults`, if there, are
    # sentences on what is wrong; `fault_s` is when the fault that is measured happened after all.
    goes_on: Callable[[Lab, float, Pause], Report] | None = None
    undo: Callable[[Lab], None] = lambda lab: None  # also when the drill is broken off
    ends: Callable[[Lab], Report] = lambda lab: {}  # after all that, without traffic
    flawless: bool = False  # not one probe may be lost, nor the youngest of the connections


def crash(lab: Lab, cutter: Cutter, name: str = VICTIM) -> float:
    """The power fails: all links and all processes at once. The processes first, by a hair: one
    that saw the first link go would tell the peer over the second."""
    at_s = monotonic_s()
    lab.power_off(name)
    cutter.cut()
    return at_s


def stop(lab: Lab, cutter: Cutter) -> float:
    """The processes are told to end; the machine goes on forwarding what still reaches it."""
    return lab.firewalls[VICTIM].end()


def poweroff(lab: Lab, cutter: Cutter) -> float:
    """The processes are told to end, and when failover has, the power goes."""
    at_s = lab.firewalls[VICTIM].power_off(TAKE_OVER_WAIT_S)
    cutter.cut()
    lab.power_off(VICTIM)
    return at_s


def switchover(lab: Lab, cutter: Cutter) -> float:
    """An operator gives the mastership away."""
    at_s = monotonic_s()
    lab.firewalls[VICTIM].ask("failover", "switchover")
    return at_s


def flap(lab: Lab, cutter: Cutter) -> float:
    """The mastership goes to and fro before anything has settled; the last move is measured."""
    since_s = monotonic_s()
    for number in range(FLAPS):
        master = (VICTIM, SURVIVOR)[number % 2]
        since_s = monotonic_s()
        lab.firewalls[master].ask("failover", "switchover")
        if take_over(lab, other(master), since_s, TAKE_OVER_WAIT_S) is None:
            raise CarpoolError(f"{other(master)} did not take over from {master}")
        if number < FLAPS - 1:
            sleep_s(FLAP_S)
    return since_s


def link(lab: Lab, cutter: Cutter) -> float:
    """The LAN cable of the master is pulled out at the switch."""
    at_s = monotonic_s()
    cutter.cut()
    return at_s


def kill(lab: Lab, cutter: Cutter) -> float:
    """The process that holds the addresses is killed; its machine lives."""
    return lab.firewalls[VICTIM].kill_worker()


def killall(lab: Lab, cutter: Cutter) -> float:
    """All processes are killed, the guard too; the machine lives and nobody speaks for it."""
    return lab.firewalls[VICTIM].kill_all()


def stand_still(lab: Lab, cutter: Cutter) -> float:
    """All processes stop where they are; the kernel forwards on."""
    return lab.firewalls[VICTIM].pause_all()


def wake(lab: Lab, stopped_s: float, pause: Pause) -> Report:
    """The end of `pause`."""
    return sleep_and_wake(lab, VICTIM, stopped_s, pause)


def lose_victim(lab: Lab) -> None:
    """The beginning of `return`: the master has crashed and the backup has taken over."""
    cutter = Cutter(lab, SEGMENTS)
    since_s = crash(lab, cutter)
    cutter.close()
    if take_over(lab, SURVIVOR, since_s, TAKE_OVER_WAIT_S) is None:
        raise CarpoolError(
            f"{SURVIVOR} did not take over when {VICTIM} crashed: nothing to return to"
        )


def come_back(lab: Lab, cutter: Cutter) -> float:
    """The crashed firewall boots with an empty table, and takes its place again."""
    return lab.power_on(VICTIM)


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("crash", "processes killed and all links cut at once", crash, cuts=SEGMENTS),
        Scenario("stop", "SIGTERM to the processes", stop),
        Scenario(
            "poweroff",
            "SIGTERM, and the power cut as soon as failover has ended",
            poweroff,
            cuts=SEGMENTS,
        ),
        Scenario("switchover", "`carpool switchover` on the master", switchover),
        Scenario(
            "flap",
            f"{FLAPS} switchovers to and fro, {FLAP_S:g} s apart",
            flap,
            successor=VICTIM,
        ),
        Scenario("link", "LAN carrier lost on the master", link, cuts=(LAN,)),
        Scenario("kill", "the failover worker killed, its machine alive", kill, comes_back=True),
        Scenario("killall", "all processes killed, the guard too; the machine alive", killall),
        Scenario(
            "pause",
            f"all processes stopped for {STOPPED_S:g} s, and then going on",
            stand_still,
            goes_on=wake,
        ),
        Scenario(
            "return",
            "a crashed node boots empty, takes the table, preempts",
            come_back,
            prepare=lose_victim,
            successor=VICTIM,
            late=True,
            wait_s=RETURN_WAIT_S,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Takeover:
    """When a node became master after a fault."""

    first_s: float  # of the first VHID
    last_s: float  # of the last: from then on it holds all of them


def take_over(
    lab: Lab, name: str, since_s: float, wait_s: float, pause: Pause = sleep_s
) -> Takeover | None:
    """Wait until a firewall is MASTER of all VHIDs; None when it is not within `wait_s` seconds."""
    deadline_s = monotonic_s() + wait_s
    while monotonic_s() < deadline_s:
        try:
            found = _take_over(lab, name, since_s)
        except CarpoolError:
            found = None  # it does not run yet
        if found is not None:
            return found
        pause(POLL_S)
    return None


def _take_over(lab: Lab, name: str, since_s: float) -> Takeover | None:
    """From the node's own events: exact, however late they are asked for."""
    status = lab.firewalls[name].ask("failover", "status")
    if status["role"] != "MASTER":
        return None
    events = lab.firewalls[name].ask("failover", "events", limit=500)["events"]
    times: dict[str, float] = {}
    for event in events:
        if event["new"] == "MASTER" and event["monotonic_s"] >= since_s:
            times.setdefault(event["vhost"], event["monotonic_s"])
    if len(times) < len(status["vhosts"]):
        return None
    return Takeover(min(times.values()), max(times.values()))
