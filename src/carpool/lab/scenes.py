"""Worse than a crash: half a network, no time, the wrong time, one fault upon another.

Room: lab. Scenarios that go on for a while and judge what they see; `scenario` makes one of its
name and what was asked for. How connections and probes are watched meanwhile is in `drill.py`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from carpool.errors import CarpoolError
from carpool.kernel.clock import monotonic_s
from carpool.lab import cost, faults, losses, shell
from carpool.lab.bare import BareFirewall
from carpool.lab.channel import Child, Report, close_all
from carpool.lab.faults import SCENARIOS, SURVIVOR, VICTIM, Cutter, Scenario, take_over
from carpool.lab.lab import Lab
from carpool.lab.owners import Owners, ended, two_owners_s
from carpool.lab.pause import Pause
from carpool.lab.topology import LAN, SEGMENTS, SYNC, THIRD, Segment
from carpool.lab.wallclock import WallClock

HEAL_WAIT_S = 15.0
SHARED_AFTER_MAX_MS = 1500.0  # two masters that hear each other again agree within an advert
TOLD_AFTER_MS = 2000.0  # so long a split brain is told
POLL_S = 0.02
SECONDS_MAX = 86_400.0
STEPS_S = (3600, -3600, 0)  # of the wall clock, from what is right


@dataclass(frozen=True, slots=True)
class Choice:
    """What was asked for; None: what the scenario does by itself."""

    links: tuple[str, ...] | None = None
    direction: str | None = None
    seconds: float | None = None

    def segments(self) -> tuple[Segment, ...]:
        """CarpoolError for a link that there is not."""
        known = {segment.name: segment for segment in SEGMENTS}
        for name in self.links or ():
            if name not in known:
                raise CarpoolError(f"found link {name!r}, expected some of {', '.join(known)}")
        return tuple(known[name] for name in self.links or (LAN.name,))


class Scene:
    """What all of them do. Made for one drill; each run begins with `strike`."""

    about = ""
    seconds = 8.0
    cuts: tuple[Segment, ...] = ()
    stays = True
    successor = SURVIVOR
    third = False
    flawless = False
    takes: tuple[str, ...] = ("seconds",)  # of the options
    dark_s = 0.0  # when the power was cut

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self.lasts_s = self.seconds if choice.seconds is None else choice.seconds
        self.owners: Owners | None = None

    def prepare(self, lab: Lab) -> None:
        """Before there is traffic."""

    def strike(self, lab: Lab, cutter: Cutter) -> float:
        self.owners = Owners(lab.network, lab.firewalls)
        return self.begin(lab)

    def begin(self, lab: Lab) -> float:
        raise NotImplementedError

    def goes_on(self, lab: Lab, fault_s: float, pause: Pause) -> Report:
        raise NotImplementedError

    def undo(self, lab: Lab) -> None:
        if self.owners is not None:
            self.owners.close()
            self.owners = None

    def ends(self, lab: Lab) -> Report:
        return {}

    def shared_ms(self, since_s: float, until_s: float, dead: dict[str, float]) -> float:
        """For how long two owned a VIP; `dead`: who had no power from when on."""
        assert self.owners is not None
        history = self.owners.history()
        for name, at_s in dead.items():
            history[name] = ended(history[name], at_s)
        return round(two_owners_s(history, since_s, until_s) * 1000, 1)


class StopOff(Scene):
    """A graceful stop, and the power goes when failover has ended. Nothing may be lost."""

    about = "SIGTERM, and the power cut at once, with not one probe nor young connection lost"
    cuts = SEGMENTS
    stays = False
    flawless = True
    takes = ()

    def strike(self, lab: Lab, cutter: Cutter) -> float:
        self.owners = Owners(lab.network, lab.firewalls)
        at_s = faults.poweroff(lab, cutter)
        self.dark_s = monotonic_s()
        return at_s

    def goes_on(self, lab: Lab, fault_s: float, pause: Pause) -> Report:
        take_over(lab, SURVIVOR, fault_s, faults.TAKE_OVER_WAIT_S, pause)
        return {"two_owners_ms": self.shared_ms(fault_s, monotonic_s(), {VICTIM: self.dark_s})}


class Partition(Scene):
    """Adverts get lost on links, to the master, from it, or both."""

    about = "adverts lost on links while everything else gets through"
    takes = ("links", "direction", "seconds")

    def begin(self, lab: Lab) -> float:
        way = self.choice.direction or "both"
        at_s = monotonic_s()
        lab.network.lose(losses.adverts(VICTIM, self.choice.segments(), way))
        return at_s

    def goes_on(self, lab: Lab, fault_s: float, pause: Pause) -> Report:
        _until(fault_s + self.lasts_s, pause)
        told = [name for name in lab.firewalls if _tells_split(lab, name)]
        moves = _masters(lab, SURVIVOR, fault_s)
        healed_s = monotonic_s()
        shared_ms = self.shared_ms(fault_s, healed_s, {})
        lab.network.lose(losses.NOTHING)
        _wait_for(lambda: not lab.troubles(), HEAL_WAIT_S, pause)
        found: Report = {
            "two_owners_ms": shared_ms,
            "two_owners_after_ms": self.shared_ms(healed_s, monotonic_s(), {}),
            "moves": moves,
            "told_by": told,
        }
        return {**found, "faults": list(self.wrong(found))}

    def wrong(self, found: Report) -> list[str]:
        wrong = []
        if self.choice.direction == "in" and found["moves"]:
            wrong.append(f"{SURVIVOR} took over, although it heard the master all the time")
        if found["two_owners_after_ms"] > SHARED_AFTER_MAX_MS:
            wrong.append(f"two masters that hear each other, for {found['two_owners_after_ms']} ms")
        one_way = self.choice.direction in ("in", "out")
        if one_way and found["two_owners_ms"] > TOLD_AFTER_MS and not found["told_by"]:
            wrong.append("nobody tells of a split brain")
        return wrong


class Starve(Scene):
    """Each core has a process that would have all of it."""

    about = "a process at normal priority for each core that wants all of it"
    seconds = 10.0

    def __init__(self, choice: Choice) -> None:
        super().__init__(choice)
        self.hogs: list[Child] = []

    def begin(self, lab: Lab) -> float:
        at_s = monotonic_s()
        for number in range(os.cpu_count() or 1):
            self.hogs.append(Child(lab.network.namespace("client"), "hog", str(number)))
        return at_s

    def goes_on(self, lab: Lab, fault_s: float, pause: Pause) -> Report:
        _until(fault_s + self.lasts_s, pause)
        spent_s = sum(cost.cpu_s(hog.pid) for hog in self.hogs)
        over_s = monotonic_s()
        self._end()
        return _unmoved(lab, fault_s) | {
            "hogs_percent": round(100 * spent_s / (over_s - fault_s), 1),
            "two_owners_ms": self.shared_ms(fault_s, over_s, {}),
        }

    def undo(self, lab: Lab) -> None:
        self._end()
        super().undo(lab)

    def _end(self) -> None:
        close_all(self.hogs)
        self.hogs = []


class Clock(Scene):
    """The wall clock of the master is stepped, then that of the other one."""

    about = "the wall clock of each firewall stepped an hour forth, two back, and right again"
    seconds = 12.0

    def __init__(self, choice: Choice) -> None:
        super().__init__(choice)
        self.clocks: dict[str, WallClock] = {}

    def prepare(self, lab: Lab) -> None:
        """Both are started again, each with a clock of its own."""
        for name, firewall in lab.firewalls.items():
            if not isinstance(firewall, BareFirewall):
                text = "machines have the wall clock of this host, which is not ours to set"
                raise CarpoolError(text, hint="leave out --machines")
            self.clocks[name] = WallClock(lab.root / name / f"clock-{monotonic_s():.6f}")
            firewall.wrapper = self.clocks[name].wrapper
        _restart(lab)
        lab.wait_healthy()

    def begin(self, lab: Lab) -> float:
        for name in lab.firewalls:
            process = lab.tracked(name, "failover")
            maps = Path(f"/proc/{process.pid}/maps").read_text("utf-8") if process else ""
            if "libfaketime" not in maps:
                raise CarpoolError(f"failover on {name} goes by the wall clock of this host")
        return monotonic_s()

    def goes_on(self, lab: Lab, fault_s: float, pause: Pause) -> Report:
        each_s = self.lasts_s / (len(self.clocks) * len(STEPS_S))
        unheard = []
        for name, clock in self.clocks.items():
            for step_s in STEPS_S:
                clock.step(step_s)
                _until(monotonic_s() + each_s, pause)
                unheard += [f"{name} at {step_s:+d} s: {text}" for text in lab.troubles()]
        found = _unmoved(lab, fault_s)
        found["two_owners_ms"] = self.shared_ms(fault_s, monotonic_s(), {})
        found["faults"] += unheard
        return found

    def undo(self, lab: Lab) -> None:
        super().undo(lab)
        for firewall in lab.firewalls.values():
            if isinstance(firewall, BareFirewall):
                firewall.wrapper = ()
        if self.clocks:
            self.clocks = {}
            _restart(lab)


class SyncCut(Scene):
    """The sync link is cut while the group runs; then the master crashes, and all of it heals."""

    about = "the sync link cut while the group runs, then a crash"
    stays = False
    seconds = 5.0

    def begin(self, lab: Lab) -> float:
        at_s = monotonic_s()
        orders = lab.network.cut_commands(VICTIM, (SYNC,))
        shell.ip_batch(lab.network.namespace("switch"), orders.splitlines())
        return at_s

    def goes_on(self, lab: Lab, fault_s: float, pause: Pause) -> Report:
        _until(fault_s + self.lasts_s, pause)
        wrong = _unmoved(lab, fault_s)
        shared_ms = self.shared_ms(fault_s, monotonic_s(), {})
        crash_s = _crash(lab, VICTIM)
        return {**wrong, "two_owners_ms": shared_ms, "fault_s": crash_s}

    def ends(self, lab: Lab) -> Report:
        """The cable is plugged in again, and the machine boots."""
        since_s = monotonic_s()
        lab.repair()
        lab.wait_healthy()
        return {"healed_s": round(monotonic_s() - since_s, 1)}


class Three(Scene):
    """The two best of three die, one after the other."""

    about = "the master of three crashes, and then the one that took over"
    stays = False
    successor = THIRD
    third = True
    seconds = 2.0

    def begin(self, lab: Lab) -> float:
        return _crash(lab, VICTIM)

    def goes_on(self, lab: Lab, fault_s: float, pause: Pause) -> Report:
        moved = take_over(lab, SURVIVOR, fault_s, faults.TAKE_OVER_WAIT_S, pause)
        if moved is None:
            raise CarpoolError(f"{SURVIVOR} did not take over when {VICTIM} crashed")
        _until(moved.last_s + self.lasts_s, pause)
        third_too_early = _masters(lab, THIRD, fault_s)
        again_s = _crash(lab, SURVIVOR)
        dead = {VICTIM: fault_s, SURVIVOR: again_s}
        wrong = f"{THIRD} became MASTER {third_too_early} times while {SURVIVOR} was"
        return {
            "first_took_over_ms": round((moved.last_s - fault_s) * 1000, 1),
            "two_owners_ms": self.shared_ms(fault_s, again_s, dead),
            "false_takeovers": third_too_early,
            "faults": [wrong] if third_too_early else [],
            "fault_s": again_s,
        }


SCENES: dict[str, type[Scene]] = {
    "stop-off": StopOff,
    "partition": Partition,
    "starve": Starve,
    "clock": Clock,
    "sync-cut": SyncCut,
    "three": Three,
}
NAMES = (*SCENARIOS, *SCENES)


def scenario(name: str, choice: Choice) -> Scenario:
    """CarpoolError for what this one does not take."""
    made = SCENES.get(name)
    takes = made.takes if made else ()
    for option in ("links", "direction", "seconds"):
        if getattr(choice, option) is not None and option not in takes:
            able = ", ".join(one for one, scene in SCENES.items() if option in scene.takes)
            text = f"the scenario {name!r} takes no --{option}"
            raise CarpoolError(text, hint=f"these do: {able}")
    if choice.seconds is not None and not 0 < choice.seconds <= SECONDS_MAX:
        raise CarpoolError(f"found --seconds {choice.seconds:g}, expected 0 to {SECONDS_MAX:g}")
    choice.segments()
    if made is None:
        return SCENARIOS[name]
    scene = made(choice)
    return Scenario(
        name,
        scene.about,
        scene.strike,
        prepare=scene.prepare,
        cuts=scene.cuts,
        flawless=scene.flawless,
        stays=scene.stays,
        successor=scene.successor,
        third=scene.third,
        goes_on=scene.goes_on,
        undo=scene.undo,
        ends=scene.ends,
    )


# --------------------------------------------------------------------------------- what they see


def _crash(lab: Lab, name: str) -> float:
    cutter = Cutter(lab, SEGMENTS, name)
    try:
        return faults.crash(lab, cutter, name)
    finally:
        cutter.close()


def _until(at_s: float, pause: Pause) -> None:
    while monotonic_s() < at_s:
        pause(POLL_S)


def _wait_for(condition: Callable[[], bool], wait_s: float, pause: Pause) -> bool:
    deadline_s = monotonic_s() + wait_s
    while not condition():
        if monotonic_s() > deadline_s:
            return False
        pause(POLL_S)
    return True


def _events(lab: Lab, name: str, since_s: float) -> list[Report]:
    events: list[Report] = lab.firewalls[name].ask("failover", "events", limit=500)["events"]
    return [event for event in events if event["monotonic_s"] >= since_s]


def _masters(lab: Lab, name: str, since_s: float) -> int:
    """How often it became MASTER of a VHID."""
    return sum(event["new"] == "MASTER" for event in _events(lab, name, since_s))


def _unmoved(lab: Lab, since_s: float) -> Report:
    """Nobody had a reason to take over since then."""
    false = _masters(lab, SURVIVOR, since_s)
    stalls = [e for name in lab.firewalls for e in _events(lab, name, since_s)]
    count = sum(event["kind"] == "stall" for event in stalls)
    wrong = [f"{SURVIVOR} became MASTER {false} times, without a reason"] if false else []
    return {"false_takeovers": false, "stalls": count, "faults": wrong}


def _tells_split(lab: Lab, name: str) -> bool:
    return "split brain" in json.dumps(lab.firewalls[name].ask("failover", "status"))


def _restart(lab: Lab) -> None:
    roles = lab.roles
    lab.run_only()
    lab.run_only(*roles)
    for name in lab.firewalls:
        lab.start_missing(name)
