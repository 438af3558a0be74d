"""Follows the control socket of another process of this node: connects again whenever it is lost.

Room: kernel. Never blocks; refuses to know what is asked. The owner calls `tick` at least once a
`RETRY_S`, and gets each answer as a JSON object.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping

from carpool.kernel.lines import Lines, parse_object
from carpool.kernel.poller import Poller

RETRY_S = 1.0


class UnixClient:
    """`on_up()` when connected, `on_answer(object)` per line, `on_down(reason)` when it is lost."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        poller: Poller,
        *,
        on_up: Callable[[], None],
        on_answer: Callable[[dict[str, object]], None],
        on_down: Callable[[str], None],
    ) -> None:
        self._path = os.fspath(path)
        self._poller = poller
        self._on_up = on_up
        self._on_answer = on_answer
        self._on_down = on_down
        self._lines: Lines | None = None
        self._retry_at_s = 0.0
        self.last_error: str | None = None

    @property
    def connected(self) -> bool:
        return self._lines is not None

    @property
    def deadline_s(self) -> float | None:
        """When `tick` has something to do; None while connected."""
        return None if self.connected else self._retry_at_s

    def tick(self, now_s: float) -> None:
        """Connect when it is time to."""
        if self._lines is not None or now_s < self._retry_at_s:
            return
        self._retry_at_s = now_s + RETRY_S
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(self._path)
        except OSError as error:
            sock.close()
            self.last_error = f"{self._path}: {error.strerror}"
            return
        self._lines = Lines(sock, self._poller, self._answer, self._lost)
        self.last_error = None
        self._on_up()

    def send(self, value: Mapping[str, object]) -> bool:
        """One request; False when there is no connection."""
        return self._lines is not None and self._lines.send(value)

    def close(self) -> None:
        if self._lines is not None:
            self._lines.close()
            self._lines = None

    def _answer(self, line: bytes) -> None:
        value = parse_object(line)
        if value is not None:
            self._on_answer(value)
        elif self._lines is not None:
            self._lines.close()
            self._lost("it sent a line that is no JSON object")

    def _lost(self, reason: str) -> None:
        self._lines = None
        self.last_error = f"{self._path}: {reason}"
        self._on_down(reason)
