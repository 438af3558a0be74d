"""What the agent tells of what is wrong around carpool on its node; `machine/surroundings.py`.

Room: agent. Looks once a minute, in a thread; refuses to mend anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from carpool.api.identity import readers, validity
from carpool.errors import CarpoolError
from carpool.kernel import clock
from carpool.kernel.keys import Keys
from carpool.machine import surroundings
from carpool.model.facts import Certificate
from carpool.model.status import Trouble
from carpool.service.troubles import LOOK_EVERY_S, TroubleTeller

READ_EVERY_S = 60.0


class Surroundings:
    """Of one node. `run` until it is cancelled."""

    def __init__(
        self,
        keys: Callable[[], Keys],
        state_dir: Path,
        now_s: Callable[[], float],
        name: str,
        record: Callable[[str], None],
    ) -> None:
        """`record` makes an event of what the console is told."""
        self._keys = keys
        self._state_dir = state_dir
        self._now_s = now_s
        self._certificates: list[Certificate] = []
        self._free_bytes = surroundings.ROOM_MIN_BYTES
        self._teller = TroubleTeller(name, self._find, clock.wall_iso, record)

    async def run(self) -> None:
        read_s = 0.0
        while True:
            now_s = self._now_s()
            if now_s >= read_s:
                read_s = now_s + READ_EVERY_S
                await asyncio.to_thread(self._read)
            self._teller.on_time(now_s)
            await asyncio.sleep(LOOK_EVERY_S)

    def about(self, summary: str) -> str:
        return self._teller.about(summary)

    def status(self) -> list[dict[str, object]]:
        """As in the answers of failover and states."""
        return self._teller.status(self._now_s())

    def _read(self) -> None:
        """What cannot be read, others tell."""
        keys, found = self._keys(), []
        for path, read in readers(keys).items():
            with contextlib.suppress(CarpoolError):
                found.append(Certificate(str(path), *validity(read())))
        self._certificates = found
        with contextlib.suppress(OSError):
            stat = os.statvfs(self._state_dir)
            self._free_bytes = stat.f_bavail * stat.f_frsize

    def _find(self) -> Iterable[Trouble]:
        wall_s = clock.wall_us() / 1e6
        yield from surroundings.of_clock(wall_s, clock.wall_iso()[:10])
        yield from surroundings.of_certificates(self._certificates, wall_s)
        yield from surroundings.of_room(str(self._state_dir), self._free_bytes)
