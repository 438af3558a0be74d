"""BFD of one simulated machine: what service/detection.py and service/bfd.py do of it.

Room: tests. The real sessions, and the real judge of their silences; a process that stands still
has its packets waiting as adverts are (box.py).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carpool.machine import effects as fx
from carpool.machine import stall, watch
from carpool.machine.bfd import BfdEffect, PathDown, SendControl
from carpool.machine.bfdpaths import BfdPaths, Wanted
from carpool.machine.detect import Detector
from carpool.machine.engine import Engine
from carpool.model.config import Address

if TYPE_CHECKING:
    from tests.sim.box import Box


@dataclass(frozen=True, slots=True)
class Control:
    """A packet of BFD that came in."""

    interface: str
    source: Address
    payload: bytes


class Watch:
    """See the module. `boot`: how often the machine has started a process."""

    def __init__(self, box: Box, engine: Engine, boot: int) -> None:
        dice = random.Random((box.world.plan.seed, box.index, boot).__hash__())
        self.box = box
        self.engine = engine
        self.paths = BfdPaths(lambda: dice.getrandbits(32), dice.random)
        self.detector = Detector(self.paths)
        self.detector.peers = watch.paths_of(engine.config)
        timing = watch.timing_of(engine.config)
        wanted = [
            Wanted(
                path,
                timing,
                watch.authentication_of(engine.config, path, peer, dice.getrandbits(32)),
            )
            for path, peer in self.detector.peers.items()
        ]
        self._perform(self.paths.follow(wanted, box.clock_s()))

    @property
    def deadline_s(self) -> float | None:
        times = (self.paths.deadline_s, self.detector.deadline_s)
        return min((at_s for at_s in times if at_s is not None), default=None)

    def receive(self, packet: Control) -> None:
        now_s = self.box.clock_s()
        done = self.paths.receive(packet.interface, packet.source, 255, packet.payload, now_s)
        self._perform(done)

    def on_link(self, interface: str) -> None:
        now_s = self.box.clock_s()
        self._perform(self.paths.link(interface, self.box.link_up(interface), now_s))
        ready = (port.ready for port in self.engine.ports.values())
        self._perform(self.paths.concatenated(not all(ready), now_s))

    def on_time(self) -> None:
        now_s = self.box.clock_s()
        self._sum_up()
        due_s = self.paths.deadline_s
        if due_s is not None and now_s >= due_s:
            self._perform(self.paths.tick(now_s))
        advskew = self.engine.demotion.advskew(self.engine.config.node.advskew)
        for event in self.detector.look(now_s, advskew):
            self.box.put(event)

    def reset(self) -> None:
        self._perform(self.paths.reset(self.box.clock_s()))

    def leave(self) -> None:
        self._perform(self.paths.leave(True, self.box.clock_s()))

    def _perform(self, effects: list[BfdEffect]) -> None:
        for effect in effects:
            if isinstance(effect, SendControl):
                interface = effect.path.interface
                if self.box.link_up(interface) and not self.box.send_faults[interface]:
                    self.box.world.control(self.box, interface, effect.path.peer, effect.payload)
            elif isinstance(effect, PathDown):
                self.detector.on_down(effect)
        self._sum_up()

    def _sum_up(self) -> None:
        at_s = self.paths.missed_at_s(self.detector.peers)
        if stall.watched_until(self.engine, at_s, self.box.clock_s()):
            self.box.put(fx.Tick())
