"""One thread's wait: files that become ready, a deadline, signals.

Room: kernel. Refuses to know what is waited for. `epoll` rounds a timeout up to whole milliseconds,
which is a tenth of an interval of 10 ms; so the time is waited out by `select` on the epoll file
itself, which counts in microseconds.
"""

from __future__ import annotations

import select
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from carpool.kernel.clock import monotonic_s
from carpool.kernel.notify import Notify

READY_MAX = 64  # files served in one round
_WAIT_MAX_S = 3600.0
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class HasFileno(Protocol):
    def fileno(self) -> int: ...


FileLike = int | HasFileno


@dataclass(slots=True)
class _Entry:
    descriptor: int
    callback: Callable[[], object]


class Poller:
    """Calls back when a file is ready. Level triggered: what is not read is called for again.

    A callback is called with no argument, for reading, writing and errors alike; it may add and
    remove files, its own too. An exception of a callback is a bug and comes out of `run_once`.
    """

    def __init__(self, notify: Notify | None = None) -> None:
        """`notify` is told at each round that the loop turns."""
        self._notify = notify
        self._epoll = select.epoll()  # close-on-exec, as all descriptors of Python
        self._entries: dict[int, _Entry] = {}
        self._wakeup: tuple[socket.socket, socket.socket] | None = None

    def add(self, fileobj: FileLike, callback: Callable[[], object], write: bool = False) -> None:
        """Watch a file for reading, with `write` for writing too. Once only: ValueError."""
        descriptor = _descriptor(fileobj)
        if descriptor in self._entries:
            raise ValueError(f"file descriptor {descriptor} is watched already")
        self._epoll.register(descriptor, _mask(True, write))
        self._entries[descriptor] = _Entry(descriptor, callback)

    def modify(self, fileobj: FileLike, read: bool, write: bool) -> None:
        """Change what a file is watched for; errors and hang-ups are always told."""
        self._epoll.modify(_descriptor(fileobj), _mask(read, write))

    def remove(self, fileobj: FileLike) -> None:
        """Stop watching. Before the file is closed; KeyError when it is not watched."""
        descriptor = _descriptor(fileobj)
        del self._entries[descriptor]
        self._epoll.unregister(descriptor)

    def run_once(self, deadline_s: float | None) -> None:
        """Wait until files are ready or the deadline (monotonic) has come; call those files back.

        None waits for files alone. What is ready is served even when the deadline is long past.
        May be back before, with nothing done.
        """
        if self._notify is not None:
            self._notify.alive(monotonic_s())
            due_s = self._notify.deadline_s
            if due_s is not None:
                deadline_s = due_s if deadline_s is None else min(deadline_s, due_s)
        for descriptor, entry in self._wait(deadline_s):
            # An earlier callback may have removed it, and another file taken its number.
            if self._entries.get(descriptor) is entry:
                entry.callback()

    def on_signals(
        self,
        callback: Callable[[signal.Signals], object],
        signals: tuple[signal.Signals, ...] = SIGNALS,
    ) -> None:
        """Take these signals, and call back in the loop once for each that arrived.

        Main thread only (ValueError), and one poller of a process only.
        """
        receiver, sender = socket.socketpair()
        receiver.setblocking(False)
        sender.setblocking(False)
        self._wakeup = receiver, sender
        signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        for number in signals:
            signal.signal(number, _noted)

        def arrived() -> None:
            for number in receiver.recv(64):
                callback(signal.Signals(number))

        self.add(receiver, arrived)

    def close(self) -> None:
        """Stop watching everything; signals are no longer told (their handlers stay)."""
        if self._wakeup is not None:
            signal.set_wakeup_fd(-1)
            for end in self._wakeup:
                end.close()
            self._wakeup = None
        self._entries.clear()
        self._epoll.close()

    def _wait(self, deadline_s: float | None) -> list[tuple[int, _Entry]]:
        ready = self._epoll.poll(0, READY_MAX)
        if not ready:
            left_s = _WAIT_MAX_S if deadline_s is None else deadline_s - monotonic_s()
            if left_s > 0:
                select.select([self._epoll], [], [], min(left_s, _WAIT_MAX_S))
                ready = self._epoll.poll(0, READY_MAX)
        return [(number, self._entries[number]) for number, _events in ready]


def _mask(read: bool, write: bool) -> int:
    return (select.EPOLLIN if read else 0) | (select.EPOLLOUT if write else 0)


def _descriptor(fileobj: FileLike) -> int:
    return fileobj if isinstance(fileobj, int) else fileobj.fileno()


def _noted(_number: int, _frame: object) -> None:
    """The handler that makes Python write the number to the wakeup descriptor."""
