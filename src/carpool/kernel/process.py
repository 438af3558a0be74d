"""A child process and the signals of its parent, waited for together.

Room: kernel. Refuses to decide whether a dead child is started again.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_WAITED_FOR = {*_STOP_SIGNALS, signal.SIGCHLD}


@dataclass(frozen=True, slots=True)
class Death:
    """How a worker ended; `text` is for people."""

    clean: bool
    text: str


class Worker:
    """A forked child that runs `main(parent_fd)`. `parent_fd` becomes readable (end of file) when
    the parent dies, however it dies."""

    def __init__(self, main: Callable[[int], int]) -> None:
        # Blocked from before the fork on, so that no signal is lost; the child takes them again.
        signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
        parent_fd, self._pipe = os.pipe2(os.O_CLOEXEC)
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._pipe)
            _run(main, parent_fd)
        os.close(parent_fd)

    def wait(self, timeout_s: float | None = None) -> Death | signal.Signals | None:
        """Until the worker dies, this process is told to stop, or the time is up (None)."""
        death = self._reap()  # it may have died before we looked
        if death is not None:
            return death
        if timeout_s is None:
            number = signal.sigwait(_WAITED_FOR)
        else:
            info = signal.sigtimedwait(_WAITED_FOR, timeout_s)
            if info is None:
                return None
            number = info.si_signo
        return self._reap() if number == signal.SIGCHLD else signal.Signals(number)

    def kill(self, number: signal.Signals) -> None:
        """Only ever our own unreaped child, so the pid cannot be somebody else's."""
        os.kill(self.pid, number)

    def _reap(self) -> Death | None:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid == 0:
            return None
        os.close(self._pipe)
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            return Death(False, f"killed by {signal.Signals(-code).name}")
        return Death(code == 0, f"exit code {code}")


def begin_anew() -> NoReturn:
    """Replace this process by the command that it was started with: the same pid, nothing open.
    OSError ends it, as a bug does: whoever started it starts it again."""
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - no shell is what we want


def _run(main: Callable[[int], int], parent_fd: int) -> None:
    """In the child: never return into the parent's code."""
    code = 1
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WAITED_FOR)
        code = main(parent_fd)
    except BaseException:  # noqa: BLE001 - the last frame of a process: tell and end
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
