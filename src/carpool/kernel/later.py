"""What may have to wait for a disk, done in a thread; its result comes back in the poller's loop.

Room: kernel. One job after another, in their order. Refuses to know what a job does.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from carpool.kernel.background import Background
from carpool.kernel.poller import Poller

T = TypeVar("T")


class Later:
    """See the module. A job handles its own errors; another exception is a bug and comes out of the
    next `do`."""

    def __init__(self, name: str, poller: Poller) -> None:
        self._background = Background(name)
        self._ready: deque[Callable[[], None]] = deque()
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        poller.add(self._fd, self._tell)

    def do(self, job: Callable[[], T], done: Callable[[T], None]) -> None:
        """Run `job` soon, then `done` with its result from the loop."""

        def work() -> None:
            result = job()
            self._ready.append(lambda: done(result))
            os.eventfd_write(self._fd, 1)

        self._background.submit(object(), work)

    def close(self) -> None:
        """Drop what has not begun, and wait (up to 1 s) for what has."""
        self._background.close()

    def _tell(self) -> None:
        os.eventfd_read(self._fd)
        while self._ready:
            self._ready.popleft()()
