"""A flag that survives restart and power loss: a file that exists or does not.

Room: kernel. Writing (with fsync) happens in a thread, because a disk may take seconds and the
process that asks must not wait. Refuses to know what the flag means.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from carpool.kernel.later import Later


class FlagFile:
    """`set` writes in the background and calls back from the poller's loop, in order."""

    def __init__(self, path: Path, later: Later) -> None:
        self._path = path
        self._later = later
        self._wanted = False
        self.unwritten = ""  # why the disk does not say what was set last

    def is_set(self) -> bool:
        return self._path.exists()

    def set(self, on: bool, done: Callable[[str | None], None]) -> None:
        """Write the flag; `done(None)` when it is on the disk, `done(why)` when it cannot be."""
        self._wanted = on

        def written(error: str | None) -> None:
            self.unwritten = error or ""
            done(error)

        self._later.do(lambda: self._write(on), written)

    def set_again(self) -> None:
        """If the disk did not take it: it may by now."""
        if self.unwritten:
            self.set(self._wanted, lambda _error: None)

    def _write(self, on: bool) -> str | None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if on:
                self._path.touch()
            else:
                self._path.unlink(missing_ok=True)
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)  # the name is the information
            finally:
                os.close(directory)
        except OSError as error:
            return f"{self._path}: {error.strerror}"
        return None
