"""Who brings another group.toml to all nodes of a simulated group, and says when all have it.

Room: tests. `carpool sync` in small, over a network of its own: a node without power gets the file
when it has power again, a process that stands still or is not there is asked again later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from carpool.model.config import Config
from tests.sim.box import Box, config_of
from tests.sim.plan import Change

if TYPE_CHECKING:
    from tests.sim.world import World

AGAIN_S = 1.0
TOLD_S = 3.0  # that all have it, one node hears so long after another at most


class Coordinator:
    """Of one world; with a plan without changes it does nothing."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._latest: Change | None = None  # what settles
        for number, change in enumerate(world.plan.changes):
            world.at(change.at_s, self._beginning(change))
            for box, late_s in zip(world.boxes, change.late_s, strict=True):
                if late_s is not None:
                    world.at(change.at_s + late_s, self._giving(box, change, number))
        self._given = dict.fromkeys(range(len(world.boxes)), -1)

    def _beginning(self, change: Change) -> Callable[[], None]:
        def begin() -> None:
            self._world.tell(f"-- {change}")
            self._latest = change
            self._look(change)

        return begin

    def _giving(self, box: Box, change: Change, number: int) -> Callable[[], None]:
        def give() -> None:
            if number < self._given[box.index]:
                return  # it has a later one
            self._given[box.index] = number
            config = self._form(box, change)
            if not box.off:
                box.take_up(config)
            if box.disk.now != config and not (box.stopped and box.disk.file == config):
                self._world.at(self._world.now_s + AGAIN_S, give)

        return give

    def _look(self, change: Change) -> None:
        if self._latest is not change:
            return
        if not all(self._has(box, change) for box in self._world.boxes):
            self._world.at(self._world.now_s + AGAIN_S, lambda: self._look(change))
            return
        for box in self._world.boxes:
            told_s = self._world.now_s + self._world.chance.uniform(0, TOLD_S)
            self._world.at(told_s, self._telling(box, change))

    def _telling(self, box: Box, change: Change) -> Callable[[], None]:
        def tell() -> None:
            if not box.settle(self._form(box, change)) and not box.stopped:
                self._world.at(self._world.now_s + AGAIN_S, tell)

        return tell

    def _has(self, box: Box, change: Change) -> bool:
        """For good: the process that is there, and the one that will be."""
        form = self._form(box, change)
        if box.stopped:
            return box.disk.file == form
        return box.disk.file == box.disk.now == form

    def _form(self, box: Box, change: Change) -> Config:
        return config_of(self._world.plan, box.index, self._world.hosts, change)
