"""One thread for system calls that may have to wait for a lock of the kernel.

Room: kernel. Changing an address takes the lock of all of rtnetlink, which others hold for as long
as a network card takes to start: no reason for a master to fall silent. Refuses to know what a job
does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable

_STACK_BYTES = 256 * 1024  # memory is locked, so the usual 8 MiB would be real
_CLOSE_WAIT_S = 1.0


class Background:
    """Runs jobs one after another, in the order of their first submission; one per key waits.

    A job handles its own KernelErrors; another exception is a bug, which the next `submit` raises.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._changed = threading.Condition()
        self._jobs: dict[Hashable, Callable[[], None]] = {}
        self._thread: threading.Thread | None = None
        self._bug: Exception | None = None
        self._closed = False

    def submit(self, key: Hashable, job: Callable[[], None]) -> None:
        """Run `job` soon, in the place of one with the same key that has not begun. Never waits."""
        with self._changed:
            if self._bug is not None:
                raise self._bug
            self._jobs[key] = job
            if self._thread is None:
                self._thread = self._start()
            self._changed.notify()

    def close(self) -> None:
        """Drop what has not begun, and wait (up to 1 s) for what has."""
        with self._changed:
            self._closed = True
            self._jobs.clear()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(_CLOSE_WAIT_S)

    def _start(self) -> threading.Thread:
        usual = threading.stack_size(_STACK_BYTES)
        try:
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            thread.start()
        finally:
            threading.stack_size(usual)
        return thread

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._closed)
                if self._closed:
                    return
                job = self._jobs.pop(next(iter(self._jobs)))
            try:
                job()
            except Exception as bug:  # noqa: BLE001 - handed over to the main thread, not swallowed
                self._bug = bug
                return
