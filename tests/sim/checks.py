"""Judges of a simulated day: what must hold at every instant, and what once it is quiet again.

Room: tests. Each judge looks at the world from outside (who owns which address, which paths are
open, which faults hold) and never asks an engine what it thinks, except for its state and its list
of demotions.

Words. D: the longest one-way delay. I = advbase + 240/256 s: the longest interval that anybody
advertises with. DOWN = 3 * advbase + 240/256 s: the longest master-down interval. Where advbase
changes, it is the slowest. Clocks drift by less than DRIFT.

Where hearing is not mutual CARP cannot keep its promise: A hears B but not the other way round, so
B, which hears no one, is master by right, and A, if it is the better one, stays master too, for
nobody tells it to go. So on such a link only two things are asked: that somebody owns the
addresses, and that no timer runs wild. The same node may be torn on its other links as well,
because VHIDs move as a group: nothing is asked there either.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations

from carpool.machine.demotion import (
    ADVSKEW_CAP,
    BULK_SYNC,
    CRASH,
    MAINTENANCE,
    STALL,
    SWITCHOVER,
    Rank,
    check_failing,
)
from carpool.machine.effects import State
from carpool.machine.engine import (
    BULK_WAIT_S,
    PROBE_EVERY_S,
    RETRY_AFTER_S,
    SEND_ERRORS_MAX,
)
from carpool.machine.vhost import ADDRESS_LIFETIME_S
from carpool.model.config import VhostKey
from tests.sim.box import BULK_TAKES_S, TIMER_LATE_S, Box
from tests.sim.plan import DELAY_S, Command, Crash, Kill, Noise, Pause, Plan, Suspend
from tests.sim.world import World

DRIFT = 1e-3
SLACK_S = 0.01 + TIMER_LATE_S
QUIET_S = 20.0  # ten of the slowest intervals
NOBODY = (1 << 16, 0)  # worse than everybody


@dataclass(frozen=True, slots=True)
class Bounds:
    """The times that a plan's parameters imply; each is an upper bound in virtual seconds."""

    delay_s: float
    interval_s: float
    down_s: float
    stepped_back: bool

    @staticmethod
    def of(plan: Plan) -> Bounds:
        advbase_s = max(plan.advbases_s())
        noise = [fault.delay_s for fault in plan.faults if isinstance(fault, Noise)]
        reboots = [fault for fault in plan.faults if isinstance(fault, Crash)]
        return Bounds(
            delay_s=max([DELAY_S, *noise]),
            interval_s=advbase_s + ADVSKEW_CAP / 256,
            down_s=3 * advbase_s + ADVSKEW_CAP / 256,
            stepped_back=any(fault.clock_step_s < 0 for fault in reboots),
        )

    def stretched(self, seconds: float) -> float:
        return seconds * (1 + DRIFT) + SLACK_S

    @property
    def without_owner_s(self) -> float:
        """A backup's timer was started by a packet of the last owner at the latest, which was D on
        its way; from then on it is DOWN. (An owner for an instant is one: a node that slept acts
        on the stale packets that queued up meanwhile, and may tell the others to wait anew.)"""
        return self.stretched(self.down_s + self.delay_s)

    @property
    def two_owners_s(self) -> float:
        """Two owners that hear each other: the better one advertises within I, the other lets go D
        later. When the better one came back with an earlier wall clock, its counters are refused
        until they are forgotten, DOWN later."""
        forgotten_s = self.down_s if self.stepped_back else 0.0
        return self.stretched(forgotten_s + self.interval_s + 2 * self.delay_s)

    @property
    def two_owners_one_asleep_s(self) -> float:
        """One of them stands still or was killed: its addresses run out by themselves."""
        return self.stretched(ADDRESS_LIFETIME_S) + self.two_owners_s

    def settling_s(self, world: World) -> float:
        """After the last fault: demotions end by themselves, then silence makes backups take over,
        then masters that hear each other agree, which may move the group once more."""
        plan = world.plan
        demotion_s = max(
            (SEND_ERRORS_MAX + 1) * max(PROBE_EVERY_S, self.interval_s),
            BULK_TAKES_S if plan.await_bulk else 0.0,
            RETRY_AFTER_S
            if any(isinstance(f, Kill | Pause | Suspend) for f in plan.faults)
            else 0.0,
            *(max(0.0, f.at_s + BULK_WAIT_S - plan.ends_s) for f in plan.faults if _bulk_on(f)),
            0.0,
        )
        agree_s = 2 * (self.interval_s + 2 * self.delay_s)
        damped_s = 3 * (plan.damping.hold_down_s + plan.damping.preempt_delay_s)
        replay_s = self.down_s if self.stepped_back else 0.0
        waits_s = demotion_s + damped_s + self.down_s + replay_s + agree_s
        return self.stretched(waits_s + ADDRESS_LIFETIME_S)


def _bulk_on(fault: object) -> bool:
    return isinstance(fault, Command) and fault.verb == "bulk on"


# ------------------------------------------------------------------------------ who hears whom


def components(world: World, interface: str) -> list[list[Box]]:
    """Machines with a link, joined if a path is open in either direction."""
    left = [box for box in world.boxes if box.link_up(interface)]
    found: list[list[Box]] = []
    while left:
        group, edge = [], [left.pop()]
        while edge:
            box = edge.pop()
            group.append(box)
            near = [other for other in left if _hears(world, interface, box, other, any)]
            edge += near
            left = [other for other in left if other not in near]
        found.append(sorted(group, key=lambda box: box.index))
    return found


def _hears(world: World, interface: str, a: Box, b: Box, how: object) -> bool:
    paths = (
        world.path_open(interface, a.index, b.index),
        world.path_open(interface, b.index, a.index),
    )
    return any(paths) if how is any else all(paths)


def mutual(world: World, interface: str, group: list[Box]) -> bool:
    return all(_hears(world, interface, a, b, all) for a, b in combinations(group, 2))


# -------------------------------------------------------------------------- at every instant


@dataclass(slots=True)
class NeverWithoutOwner:
    """(e) Where a node is able to be master, nobody waits for an owner longer than the bound,
    whatever goes wrong elsewhere: holds with loss, one-way paths and partitions, too."""

    bounds: Bounds
    since_s: dict[tuple[VhostKey, int], float] = field(default_factory=dict)

    def observe(self, world: World) -> None:
        bare = set()
        for interface in world.plan.interfaces:
            groups = components(world, interface)
            for key in (key for key in self._asked(world) if key.interface == interface):
                for group in groups:
                    if not any(box.owns(key) for box in group):
                        bare |= {(key, box.index) for box in group if box.ready(interface)}
        for item in list(self.since_s):
            waited_s = world.now_s - self.since_s[item]
            assert waited_s <= self.bounds.without_owner_s, (
                f"at {world.now_s:.3f}: {item[0]} had no owner for {waited_s:.3f} s although "
                f"fw{item[1] + 1} was able (at most {self.bounds.without_owner_s:.3f} s)"
            )
            if item not in bare:
                del self.since_s[item]
        for item in bare:
            self.since_s.setdefault(item, world.now_s)

    @staticmethod
    def _asked(world: World) -> tuple[VhostKey, ...]:
        """A VHID that comes waits for Settle, in the worst case."""
        return world.lasting if world.plan.changes else world.keys


@dataclass(slots=True)
class NeverTwoOwnersForLong:
    """(d) Two owners that hear each other, on a network that is well, since the last fault."""

    bounds: Bounds
    since_s: dict[tuple[VhostKey, int, int], float] = field(default_factory=dict)
    longest_s: float = 0.0

    def observe(self, world: World) -> None:
        now = set(self._pairs(world))
        for item in list(self.since_s):
            key, a, b = item
            asleep = not (world.boxes[a].running and world.boxes[b].running)
            bound_s = self.bounds.two_owners_one_asleep_s if asleep else self.bounds.two_owners_s
            lasted_s = world.now_s - max(self.since_s[item], world.last_fault_s)
            self.longest_s = max(self.longest_s, lasted_s)
            assert lasted_s <= bound_s, (
                f"at {world.now_s:.3f}: fw{a + 1} and fw{b + 1} both owned {key} for "
                f"{lasted_s:.3f} s (at most {bound_s:.3f} s)"
            )
            if item not in now:
                del self.since_s[item]
        for item in now:
            self.since_s.setdefault(item, world.now_s)

    @staticmethod
    def _pairs(world: World) -> Iterator[tuple[VhostKey, int, int]]:
        if world.noisy:
            return
        for key in world.keys:
            interface = key.interface
            owners = [
                box
                for box in world.boxes
                if box.owns(key) and box.link_up(interface) and not box.send_faults[interface]
            ]
            for a, b in combinations(owners, 2):
                if _hears(world, interface, a, b, all):
                    yield key, a.index, b.index


class NeverTwoMastersForLong(NeverTwoOwnersForLong):
    """The same of what awake nodes believe of themselves, whatever their kernels have."""

    @staticmethod
    def _pairs(world: World) -> Iterator[tuple[VhostKey, int, int]]:
        if world.noisy:
            return
        for key in world.keys:
            interface = key.interface
            masters = [
                box
                for box in world.boxes
                if box.running and box.link_up(interface) and not box.send_faults[interface]
                if _state(box, key) is State.MASTER
            ]
            for a, b in combinations(masters, 2):
                if _hears(world, interface, a, b, all):
                    yield key, a.index, b.index


# ----------------------------------------------------------------------------- once it is quiet


def check_quiet(world: World) -> None:
    """(a) and (b), after the settling time."""
    whole = all(
        mutual(world, interface, group)
        for interface in world.plan.interfaces
        for group in components(world, interface)
    )
    for box in world.boxes:
        _check_demotion(box)
    for key in world.lasting:
        for group in components(world, key.interface):
            able = [box for box in group if box.ready(key.interface)]
            if not able:
                continue
            owners = [box for box in group if box.owns(key)]
            assert owners, f"{key}: nobody owns it among {_names(group)}"
            if whole:
                _check_one(world, key, able, owners)


def _check_one(world: World, key: VhostKey, able: list[Box], owners: list[Box]) -> None:
    heard = [box for box in able if not box.send_faults[key.interface]]
    mute = [box for box in able if box.send_faults[key.interface]]
    if mute and min(standing(box, key) for box in mute) < min(
        (standing(box, key) for box in heard), default=NOBODY
    ):
        return  # as on a one-way path: the better node cannot make itself heard, and knows it
    masters = [box for box in able if _state(box, key) is State.MASTER]
    assert len(masters) == 1, f"{key}: masters are {_names(masters)} among {_names(able)}"
    assert owners == masters, f"{key}: master is {_names(masters)}, owners are {_names(owners)}"
    (master,) = masters
    ranked = {box.index: standing(box, key) for box in heard}
    assert master.index in ranked, f"{key}: {master.name} is master, but cannot be heard"
    best = min(ranked.values())
    if world.changing:
        # Who waits longer than the other is no slower for it; but who is demoted is relieved.
        well = [box.name for box in heard if not _expected(box) and box.plan.advskew < ADVSKEW_CAP]
        assert master.name in well or not well or not _expected(master), (
            f"{key}: {master.name} is demoted and still master, although {well} are well"
        )
    elif world.plan.preempt and not world.plan.damping.moves_per_hour:
        assert ranked[master.index] == best, (
            f"{key}: master is {master.name} with {ranked[master.index]}, best is {ranked}"
        )
    else:
        kept = ranked[master.index][0] % 256 < ADVSKEW_CAP or ranked[master.index] == best
        assert kept, f"{key}: {master.name} is demoted and still master: {ranked}"


def standing(box: Box, key: VhostKey) -> tuple[int, int]:
    """What the node should advertise, by the faults that hold: (interval in 1/256 s, rank)."""
    assert box.engine is not None
    advbase_s = box.engine.vhosts[key].form.advbase_s
    damper = box.engine.damper
    reasons = _expected(box, passed_over=damper.is_master and damper.held is not None)
    advskew = min(ADVSKEW_CAP, box.plan.advskew + 240 * len(reasons))
    return advbase_s * 256 + advskew, min(255, sum(reasons.values()))


def _expected(box: Box, *, passed_over: bool = False) -> dict[str, int]:
    """The demotions that an onlooker expects. A node that gave its mastership away once stays
    behind until it is master again: only the node itself knows that."""
    assert box.engine is not None
    reasons: dict[str, int] = {
        f"interface {interface} down": Rank.INTERFACE_DOWN
        for interface in box.engine.ports  # a VIP is there
        if not box.link_up(interface)
    }
    if box.failing and not passed_over:
        reasons[check_failing("gateway")] = Rank.SEND_ERRORS
    if box.maintenance:
        reasons[MAINTENANCE] = Rank.MAINTENANCE
    if SWITCHOVER in box.engine.demotion:
        reasons[SWITCHOVER] = Rank.SWITCHOVER
    for interface, failing in box.send_faults.items():
        reason = f"send errors {interface}"
        if failing and reason in box.engine.demotion:
            reasons[reason] = Rank.SEND_ERRORS
    return reasons


def _check_demotion(box: Box) -> None:
    """No reason outlives its cause."""
    if box.engine is None or box.frozen:
        return
    found = {reason.reason for reason in box.engine.demotion.reasons()}
    expected = set(_expected(box))
    assert found == expected, f"{box.name} is demoted for {found}, expected {expected}"
    assert BULK_SYNC not in found
    assert not {CRASH, STALL} & found


def check_ticks(world: World) -> None:
    """(f) A vhost needs a tick for its advert, its hold and its announcements; 20 a second while
    leaving; a node one for its probes and each departure."""
    for box in world.boxes:
        most = 25 * len(world.keys) + 10
        times = box.ticks
        for first, time_s in enumerate(times):
            if first + most < len(times):
                assert times[first + most] - time_s > 1.0, (
                    f"{box.name}: {most} ticks within a second from {time_s:.3f}"
                )


def _state(box: Box, key: VhostKey) -> State | None:
    vhost = box.engine.vhosts.get(key) if box.engine is not None else None
    return vhost.state if vhost is not None else None


def _names(boxes: list[Box]) -> str:
    return ", ".join(box.name for box in boxes) or "nobody"


# ------------------------------------------------------------------------------------- all


def play(plan: Plan) -> World:
    """Run a plan under all judges; AssertionError with the plan and the end of the trace."""
    bounds = Bounds.of(plan)
    judges = (
        NeverWithoutOwner(bounds),
        NeverTwoOwnersForLong(bounds),
        NeverTwoMastersForLong(bounds),
    )
    world = World(plan, judges)
    try:
        world.run_until(plan.ends_s)
        world.run_until(plan.ends_s + bounds.settling_s(world))
        check_quiet(world)
        still = world.transitions
        world.run_until(world.now_s + QUIET_S)
        check_quiet(world)
        if all(mutual(world, i, group) for i in plan.interfaces for group in components(world, i)):
            assert world.transitions == still, "(c) something moved although nothing changed"
        check_ticks(world)
    except AssertionError as failure:
        failure.add_note(f"replay: play({plan!r})")
        failure.add_note("\n".join(world.trace[-60:]))
        raise
    return world
