"""A flag that survives restart and power loss: a file that exists or does not.

Room: kernel. Writing (with fsync) happens in a thread, because a disk may take seconds and the
process that asks must not wait. Refuses to know what the flag means.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from carpool.kernel.poller import Poller


class FlagFile:
    """`set` writes in the background and calls back from the poller's loop, in order."""

    def __init__(self, path: Path, poller: Poller) -> None:
        self._path = path
        self._done_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._waiting: list[tuple[threading.Thread, list[OSError], Callable[[str | None], None]]]
        self._waiting = []
        poller.add(self._done_fd, self._finished)

    def is_set(self) -> bool:
        return self._path.exists()

    def set(self, on: bool, done: Callable[[str | None], None]) -> None:
        """Write the flag; `done(None)` when it is on the disk, `done(why)` when it cannot be."""
        errors: list[OSError] = []
        before = self._waiting[-1][0] if self._waiting else None
        thread = threading.Thread(target=self._write, args=(on, errors, before), daemon=True)
        self._waiting.append((thread, errors, done))
        thread.start()

    def _write(self, on: bool, errors: list[OSError], before: threading.Thread | None) -> None:
        if before is not None:
            before.join()
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
            errors.append(error)
        os.eventfd_write(self._done_fd, 1)

    def _finished(self, *_: object) -> None:
        os.eventfd_read(self._done_fd)
        while self._waiting and not self._waiting[0][0].is_alive():
            _thread, errors, done = self._waiting.pop(0)
            done(f"{self._path}: {errors[0].strerror}" if errors else None)
        if self._waiting:  # it wrote the eventfd just before it ends: look again at once
            os.eventfd_write(self._done_fd, 1)
