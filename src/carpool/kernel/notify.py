"""Tell systemd how a process does: ready, alive, stopping, and a line for people; sd_notify(3).

Room: kernel. A datagram to $NOTIFY_SOCKET that is never waited for; without one, nothing is told.
Refuses to know what ready means. No library: failover loads none, and this is all that it would do.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping

EVERY_MAX_S = 3.0  # a status line is no older
RETRY_S = 0.2  # systemd's queue was full, or it is being executed anew
_STATUS_MAX = 200  # characters


class Notify:
    """Of one service; made in the process that systemd started, used there or in its one child.

    `alive` is to be called from the loop itself, so that a loop that hangs is told by silence.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self.about: Callable[[], str] | None = None  # the status line; cheap, as it is asked often
        name = environment.get("NOTIFY_SOCKET", "")
        self._address = f"\0{name[1:]}" if name.startswith("@") else name  # @: abstract, unix(7)
        self._socket: socket.socket | None = None
        if name:
            kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            self._socket = socket.socket(socket.AF_UNIX, kind)
        watchdog_s = _watchdog_s(environment)
        self.watched = watchdog_s is not None
        self.every_s = min(EVERY_MAX_S, (watchdog_s or EVERY_MAX_S) / 3)
        self._untold: dict[str, str] = {}
        self._status = ""
        self.deadline_s: float | None = 0.0 if name else None  # of the next `alive`

    def ready(self) -> None:
        """It does now what it was started for (also: again, after `reloading`)."""
        self._tell(READY="1")

    def reloading(self) -> None:
        """It begins anew; `ready` follows."""
        self._tell(RELOADING="1")

    def stopping(self, status: str) -> None:
        self.about = None
        self._tell(STOPPING="1", STATUS=status)

    def last_words(self, text: str) -> None:
        """Why it ends: systemd keeps it until the next start, on no disk."""
        self.about = None
        self._tell(STATUS=_line(text))

    def alive(self, now_s: float) -> None:
        """The loop turns. Tells so when it is time."""
        if self.deadline_s is None or now_s < self.deadline_s:
            return
        if self.watched:
            self._untold["WATCHDOG"] = "1"
        status = _line(self.about()) if self.about is not None else self._status
        if status != self._status:
            self._untold["STATUS"] = self._status = status
        self._tell()
        self.deadline_s = now_s + (RETRY_S if self._untold else self.every_s)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _tell(self, **fields: str) -> None:
        """All at once; what systemd does not take now is told by the next one."""
        self._untold.update(fields)
        if self._socket is None or not self._untold:
            return
        text = "".join(f"{name}={value}\n" for name, value in self._untold.items())
        try:
            self._socket.sendto(text.encode(), self._address)
        except OSError:
            self.deadline_s = 0.0
        else:
            self._untold.clear()


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """How long it may be silent; None: as long as it likes, or another process was meant."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        return int(environment.get("WATCHDOG_USEC", "")) / 1e6 or None
    except ValueError:
        return None


def _line(text: str) -> str:
    return " ".join(text.split())[:_STATUS_MAX]
