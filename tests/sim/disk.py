"""What of a node's group.toml outlives its process: api/running.py in small.

Room: tests. Configurations in place of texts; knows no process.
"""

from __future__ import annotations

from collections.abc import Sequence

from carpool.model.config import Config


class Disk:
    """`file`: what group.toml says; `now` and `older`: what the last process went by."""

    def __init__(self, file: Config) -> None:
        self.file = file
        self.now = file
        self.older: tuple[Config, ...] = ()

    def start(self, *, again: bool) -> Config:
        """What a process goes by; with `again` it takes up nothing new. `older` goes with it."""
        if not again:
            every = (self.now, *self.older)
            self.now = self.file
            self.older = tuple(one for one in every if one.group.vips != self.file.group.vips)
        return self.now

    def keep(self, now: Config, older: Sequence[Config]) -> None:
        self.now, self.older = now, tuple(older)
