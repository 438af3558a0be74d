"""One connection of a browser, and when it is cut: nobody may hold what others need.

Room: web. Beside what HTTP itself asks (uvicorn, h11): heads, answers and silence have their time,
and who comes finds a place, at the cost of who has been quiet longest.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import h11
from uvicorn import Config as HttpConfig
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from carpool.kernel import clock
from carpool.web.headers import NO_STORE, SECURITY


@dataclass(frozen=True, slots=True)
class Limits:
    quiet_s: float = 30.0  # without a whole request: idle, or with a head that trickles in
    stalled_s: float = 30.0  # with an answer that nobody reads
    connections: int = 128


LIMITS = Limits()


class Connection(H11Protocol):
    def __init__(self, http: HttpConfig, state: ServerState, limits: Limits = LIMITS) -> None:
        super().__init__(http, state, {})
        self._limits = limits
        self.quiet_since_s = clock.monotonic_s()
        self._stalled_since_s: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            others = [one for one in self.connections if isinstance(one, Connection)]
            quiet = [one for one in others if one.is_quiet and one is not self] or [self]
            min(quiet, key=lambda one: one.quiet_since_s).cut()

    def on_response_complete(self) -> None:
        self.quiet_since_s = clock.monotonic_s()
        super().on_response_complete()

    def pause_writing(self) -> None:
        self._stalled_since_s = clock.monotonic_s()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stalled_since_s = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP, or too much of it. Who has an answer already, or half of it, is given
        none."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        named = {**SECURITY, "cache-control": NO_STORE, "content-type": "text/plain"}
        named["content-length"] = str(len(msg))
        headers = [(name, text) for name, text in {**named, "connection": "close"}.items()]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=msg.encode("ascii")),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing of it is under way, or a head that does not end."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def is_overdue(self, now_s: float) -> bool:
        stalled_s = 0.0 if self._stalled_since_s is None else now_s - self._stalled_since_s
        quiet_s = now_s - self.quiet_since_s if self.is_quiet else 0.0
        return quiet_s > self._limits.quiet_s or stalled_s > self._limits.stalled_s

    def cut(self) -> None:
        self.connections.discard(self)  # its place is free at once
        self.transport.abort()
