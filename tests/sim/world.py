"""A whole group in virtual time: machines, the links between them, and the faults of a plan.

Room: tests. One heap of events, one seeded source of chance, no wall clock: the same plan gives the
same trace. Judges nothing: whoever wants to judge is called whenever ownership or connectivity may
have changed (checks.py).
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from carpool.machine import effects as fx
from carpool.machine.engine import Engine
from carpool.model.config import Address, Family, VhostKey
from tests.sim.box import CHECK_FAILS, LEASE_S, Box
from tests.sim.plan import (
    DELAY_S,
    Command,
    Crash,
    Fault,
    Kill,
    LinkDown,
    Noise,
    OneWay,
    Pause,
    Plan,
    SendFault,
    Split,
    Suspend,
)
from tests.sim.regroup import Coordinator
from tests.sim.watch import Control

COMMANDS: dict[str, fx.Input] = {
    "maintenance on": fx.SetMaintenance(True),
    "maintenance off": fx.SetMaintenance(False),
    "disable": fx.SetDisabled(True),
    "enable": fx.SetDisabled(False),
    "switchover": fx.Switchover(),
    "bulk on": fx.SetBulkSync(True),
    "bulk off": fx.SetBulkSync(False),
    "stop": fx.Stop(),
    "check fails": CHECK_FAILS,
    "check passes": fx.SetChecks((), LEASE_S),
}


class Watcher(Protocol):
    """Somebody who looks on."""

    def observe(self, world: World) -> None:
        """Ownership or connectivity may have changed at `world.now_s`."""


class World:
    """See the module."""

    def __init__(self, plan: Plan, watchers: tuple[Watcher, ...] = ()) -> None:
        self.plan = plan
        self.watchers = watchers
        self.chance = random.Random(plan.seed)
        self.now_s = 0.0
        self.last_fault_s = 0.0
        self.trace: list[str] = []
        self.transitions = 0
        self.announcements: list[tuple[float, Box, VhostKey]] = []
        self.packets = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._scheduled = 0
        self._dirty = False
        self._cuts: Counter[tuple[str, int, int]] = Counter()
        self._noise: list[Noise] = []
        self.keys = tuple(VhostKey(vip.interface, vip.vhid) for vip in plan.vips)
        self.hosts = {i: self._host_numbers() for i in plan.interfaces}
        self.boxes = [Box(self, index) for index in range(len(plan.nodes))]
        for box in self.boxes:
            self.at(0.0, box.boot)
        for fault in plan.faults:
            self._schedule(fault)
        self.coordinator = Coordinator(self)

    def _host_numbers(self) -> list[int]:
        """The order of addresses differs from link to link, as it does in the field."""
        return self.chance.sample(range(1, 100), len(self.plan.nodes))

    # --------------------------------------------------------------------------------- time

    def at(self, time_s: float, action: Callable[[], None]) -> None:
        self._scheduled += 1
        heapq.heappush(self._heap, (max(time_s, self.now_s), self._scheduled, action))

    def run_until(self, time_s: float) -> None:
        while self._heap and self._heap[0][0] <= time_s:
            self.now_s, _, action = heapq.heappop(self._heap)
            action()
            if self._dirty:
                self.look()
        self.now_s = time_s
        self.look()

    def changed(self) -> None:
        """Ownership or connectivity changed: look when this event is through."""
        self._dirty = True

    def look(self) -> None:
        self._dirty = False
        for watcher in self.watchers:
            watcher.observe(self)

    def tell(self, text: str, *, transition: bool = False) -> None:
        self.transitions += transition
        self.trace.append(f"{self.now_s:11.6f} {text}")

    def announced(self, box: Box, key: VhostKey) -> None:
        self.announcements.append((self.now_s, box, key))

    # ------------------------------------------------------------------------------ network

    def path_open(self, interface: str, sender: int, receiver: int) -> bool:
        return not self._cuts[interface, sender, receiver]

    @property
    def lasting(self) -> tuple[VhostKey, ...]:
        """The VHIDs that no change adds or removes, and those of all nodes once all agree."""
        if self.changing or not self.engines:
            forms = (self.plan.before, *self.plan.changes)
            gone = {place for form in forms if form for place in form.without}
            return tuple(key for place, key in enumerate(self.keys) if place not in gone)
        return tuple(vip.key for vip in self.engines[0].config.group.vips)

    @property
    def engines(self) -> list[Engine]:
        return [box.engine for box in self.boxes if box.engine is not None]

    @property
    def changing(self) -> bool:
        """Whether one node goes by another group.toml than another, or by more than one."""
        engines = self.engines
        return any(
            engine.older or engine.config.group != engines[0].config.group for engine in engines
        )

    @property
    def noisy(self) -> bool:
        return bool(self._noise)

    def transmit(self, sender: Box, interface: str, family: Family, payload: bytes) -> None:
        """To everybody else on the link. A packet needs a path when it leaves and when it comes."""
        own = self.boxes[sender.index].config.node.addresses[interface]
        source = own[0] if family is Family.IPV4 else own[1]
        packet = fx.PacketReceived(interface, source, 255, payload)
        for receiver in self.boxes:
            if receiver is sender or not self.path_open(interface, sender.index, receiver.index):
                continue
            copies = 1 + any(self.chance.random() < noise.duplicate for noise in self._noise)
            for _ in range(copies):
                if any(self.chance.random() < noise.loss for noise in self._noise):
                    continue
                delay_s = max([DELAY_S, *(noise.delay_s for noise in self._noise)])
                self.at(
                    self.now_s + self.chance.uniform(0.0001, delay_s),
                    lambda receiver=receiver: self._arrive(sender, receiver, packet),  # type: ignore[misc]
                )

    def control(self, sender: Box, interface: str, to: Address, payload: bytes) -> None:
        """A packet of BFD, to the one whose address that is."""
        source = sender.config.node.addresses[interface][0]
        for receiver in self.boxes:
            if to not in receiver.config.node.addresses[interface] or receiver.off:
                continue
            if any(self.chance.random() < noise.loss for noise in self._noise):
                continue
            if self.path_open(interface, sender.index, receiver.index):
                delay_s = self.chance.uniform(0.0001, DELAY_S)
                packet = Control(interface, source, payload)
                self.at(
                    self.now_s + delay_s,
                    lambda receiver=receiver, packet=packet: self._arrive(sender, receiver, packet),  # type: ignore[misc]
                )

    def _arrive(self, sender: Box, receiver: Box, packet: fx.PacketReceived | Control) -> None:
        interface = packet.interface
        if receiver.link_up(interface) and self.path_open(interface, sender.index, receiver.index):
            self.packets += 1
            receiver.give(packet)

    # ------------------------------------------------------------------------------- faults

    def _schedule(self, fault: Fault) -> None:
        begin, end = self._actions(fault)
        self.at(fault.at_s, lambda: self._disturb(f"-- {fault}", begin))
        for_s = None if isinstance(fault, Command) else fault.for_s
        if for_s is not None:
            self.at(fault.at_s + for_s, lambda: self._disturb(f"-- end of {fault}", end))

    def _disturb(self, text: str, action: Callable[[], None]) -> None:
        self.last_fault_s = self.now_s
        self.tell(text)
        action()
        self.changed()

    def _actions(self, fault: Fault) -> tuple[Callable[[], None], Callable[[], None]]:
        match fault:
            case Noise():
                return lambda: self._noise.append(fault), lambda: self._noise.remove(fault)
            case Split(interface=interface, side=side):
                others = [i for i in range(len(self.boxes)) if i not in side]
                cuts = [(interface, a, b) for a in side for b in others]
                cuts += [(interface, b, a) for a in side for b in others]
                return lambda: self._cut(cuts, 1), lambda: self._cut(cuts, -1)
            case OneWay(interface=interface, sender=sender, receiver=receiver):
                one = [(interface, sender, receiver)]
                return lambda: self._cut(one, 1), lambda: self._cut(one, -1)
            case LinkDown(interface=interface, node=node):
                return lambda: self._link(node, interface, 1), lambda: self._link(
                    node, interface, -1
                )
            case SendFault(interface=interface, node=node):
                return lambda: self._mute(node, interface, 1), lambda: self._mute(
                    node, interface, -1
                )
            case Pause(node=node):
                return lambda: self._freeze(node, 1), lambda: self._freeze(node, -1)
            case Suspend(node=node):
                return lambda: self._suspend(node, 1), lambda: self._suspend(node, -1)
            case Crash(node=node, clock_step_s=step_s):
                return lambda: self._power_off(node), lambda: self._power_on(node, step_s)
            case Kill(node=node, clock_step_s=step_s):
                return lambda: self._kill(node), lambda: self._respawn(node, step_s)
            case Command(node=node, verb=verb):
                return lambda: self._command(node, verb), lambda: None

    def _cut(self, paths: list[tuple[str, int, int]], count: int) -> None:
        for path in paths:
            self._cuts[path] += count

    def _link(self, node: int, interface: str, count: int) -> None:
        box = self.boxes[node]
        was_up = box.link_up(interface)
        box.links_down[interface] += count
        if box.link_up(interface) != was_up:
            box.link_changed(interface)

    def _mute(self, node: int, interface: str, count: int) -> None:
        self.boxes[node].send_faults[interface] += count

    def _freeze(self, node: int, count: int) -> None:
        box = self.boxes[node]
        box.frozen += count
        if not box.frozen:
            box.thaw()

    def _suspend(self, node: int, count: int) -> None:
        box = self.boxes[node]
        if count > 0:
            box.fall_asleep()
        else:
            box.wake()
        self._freeze(node, count)

    def _power_off(self, node: int) -> None:
        box = self.boxes[node]
        box.off += 1
        box.lose_power()

    def _power_on(self, node: int, step_s: float) -> None:
        box = self.boxes[node]
        box.off -= 1
        box.wall_step_s += step_s
        box.boot()

    def _kill(self, node: int) -> None:
        self.boxes[node].dead += 1
        self.boxes[node].die()

    def _respawn(self, node: int, step_s: float) -> None:
        box = self.boxes[node]
        box.dead -= 1
        box.wall_step_s += step_s
        box.boot(again=True)

    def _command(self, node: int, verb: str) -> None:
        box = self.boxes[node]
        if verb == "start":
            box.stopped = False
            box.boot()
            return
        if verb.startswith("maintenance") and box.engine is not None:
            box.maintenance = verb == "maintenance on"
        if verb.startswith("check"):
            box.failing = verb == "check fails"
        box.give(COMMANDS[verb])
