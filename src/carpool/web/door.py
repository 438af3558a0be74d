"""A socket at which browsers knock: takes them in, and bounds those that have not shaken hands yet.

Room: web. Whoever can reach the port can open connections and say nothing. asyncio's own servers
hold each of them until its time is up, as many as there are file descriptors, and then nothing in
this process can open anything. Here they have so many places, and the network that holds most of
them loses its oldest to who comes. Refuses to know what is said afterwards (`connection.py`).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from functools import partial

from carpool.web.throttle import network_of

HANDSHAKE_WAIT_S = 5.0
HANDSHAKES_MAX = 128
AT_ONCE = 16  # that are taken in before others of this process have their turn
AGAIN_S = 0.2  # after the kernel refused to give us one: it lacks something


class Door:
    """At a socket that listens; open from the beginning, in the loop that runs, until `close`."""

    def __init__(
        self,
        sock: socket.socket,
        tls: ssl.SSLContext,
        connection: Callable[[], asyncio.Protocol],
        places: int = HANDSHAKES_MAX,
    ) -> None:
        self._sock = sock
        self._tls = tls
        self._connection = connection
        self._places = places
        self._loop = asyncio.get_running_loop()
        self._knocking: dict[asyncio.Task[None], str] = {}  # with their networks, oldest first
        self._later: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        self._open()

    def close(self) -> None:
        """At once, also twice; who is in already stays."""
        if self._sock.fileno() < 0:
            return
        self._loop.remove_reader(self._sock)
        if self._later is not None:
            self._later.cancel()
        self._sock.close()
        for task in self._knocking:
            task.cancel()

    @property
    def knocking(self) -> int:
        return len(self._knocking)

    def _open(self) -> None:
        self._loop.add_reader(self._sock, self._take_in)

    def _take_in(self) -> None:
        for _ in range(AT_ONCE):
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # no descriptor or no memory is left
                self._loop.remove_reader(self._sock)
                self._later = self._loop.call_later(AGAIN_S, self._open)
                return
            while len(self._knocking) >= self._places:
                self._turn_away()
            sock.setblocking(False)
            task = self._loop.create_task(self._shake_hands(sock))
            self._knocking[task] = network_of(str(address[0]))
            task.add_done_callback(partial(self._ended, sock))

    def _turn_away(self) -> None:
        """Who has been longest at it, of those that hold most places."""
        ((most, _count),) = Counter(self._knocking.values()).most_common(1)
        oldest = next(task for task, network in self._knocking.items() if network == most)
        del self._knocking[oldest]
        oldest.cancel()

    async def _shake_hands(self, sock: socket.socket) -> None:
        """Then the connection is on its own."""
        try:
            await self._loop.connect_accepted_socket(
                self._connection, sock, ssl=self._tls, ssl_handshake_timeout=HANDSHAKE_WAIT_S
            )
        except OSError:  # no TLS, none that we speak, or too slow
            sock.close()

    def _ended(self, sock: socket.socket, task: asyncio.Task[None]) -> None:
        self._knocking.pop(task, None)
        if task.cancelled():  # perhaps before it had begun
            sock.close()
