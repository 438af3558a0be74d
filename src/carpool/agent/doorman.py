"""Stands before every request: who may ask this, how often, how many at once, how much, how slowly.

Room: agent. Plain ASGI, around the whole application, so that no route can forget it. Who asks is
in `scope["carpool.peer"]`: a peer's name, proven by its certificate, or None for this machine; and
`scope["carpool.web"]` tells its pages from other programs. It refuses to know what the routes do.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection
from typing import TypeVar

from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from carpool.agent.answers import API, API_HEADER
from carpool.agent.refusals import Refusals
from carpool.kernel import clock
from carpool.machine.bucket import Bucket

SCOPE_PEER = "carpool.peer"
SCOPE_WEB = "carpool.web"  # True: it came by the socket of the pages
PEER_ROUTES = "/v1/peer/"  # all that a peer may ask for is below it

BODY_MAX_BYTES = 1024 * 1024  # of a request; a route that needs more says so (`takes`)
BODY_WAIT_S = 10.0  # that a body may keep us waiting, all told,
BODY_MIN_BYTES_S = 64 * 1024  # and longer only while at least so much comes
REQUESTS_AT_ONCE, PEER_AT_ONCE, WEB_AT_ONCE = 32, 8, 16  # of this machine; a peer; the pages
REQUESTS_PER_S, REQUESTS_BURST = 200.0, 400  # of one peer
NO_PEER = ("it is no peer in node.toml any more", "add [peer.NAME] again, then `carpool apply`")

_Endpoint = TypeVar("_Endpoint", bound=Callable[..., object])
_body_max_bytes: dict[object, int] = {}


def takes(max_bytes: int) -> Callable[[_Endpoint], _Endpoint]:
    """Let a route take a body of up to `max_bytes`. Stands below `@router.put(...)`."""

    def mark(endpoint: _Endpoint) -> _Endpoint:
        _body_max_bytes[endpoint] = max_bytes
        return endpoint

    return mark


class Doorman:
    """The application behind it sees only requests that may be."""

    def __init__(
        self,
        app: ASGIApp,
        peers: Collection[str],
        refusals: Refusals,
        now_s: Callable[[], float] = clock.monotonic_s,
    ) -> None:
        self._app = app
        self._refusals = refusals
        self._now_s = now_s
        self._busy: Counter[tuple[str | None, bool]] = Counter()
        self._peers = peers  # as they are at each request
        self._buckets: dict[str, Bucket] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", "the listeners speak nothing else"
        peer: str | None = scope[SCOPE_PEER]
        who = peer, bool(scope.get(SCOPE_WEB))
        send = _signed(send)
        refusal = self._refusal(peer, scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        self._busy[who] += 1
        try:
            await self._app(scope, _Body(scope, receive, self._now_s).receive, send)
        finally:
            self._busy[who] -= 1

    def _refusal(self, peer: str | None, scope: Scope) -> JSONResponse | None:
        if peer is not None:
            if not str(scope["path"]).startswith(PEER_ROUTES):
                why = f"{scope['method']} {str(scope['path'])[:100]!r} is not for peers"
                return self._no(403, "not_for_peers", peer, why, f"peers may ask {PEER_ROUTES}*")
            if peer not in self._peers:
                return self._no(403, "no_peer", peer, *NO_PEER)
            if not self._bucket(peer).take(self._now_s()):
                why = f"more than {REQUESTS_PER_S:g} requests a second"
                return self._no(429, "too_often", peer, why, "ask again in a second")
        is_web = bool(scope.get(SCOPE_WEB))
        if is_web and str(scope["path"]).startswith(PEER_ROUTES):
            why = f"{scope['method']} {str(scope['path'])[:100]!r} is for peers, not for pages"
            return self._no(403, "not_for_pages", peer, why, "ask the same without /peer")
        most = WEB_AT_ONCE if is_web else REQUESTS_AT_ONCE if peer is None else PEER_AT_ONCE
        if self._busy[peer, is_web] >= most:
            why = f"{most} requests are under way already"
            return self._no(503, "too_many", peer, why, "wait for one of them to end")
        return None

    def _bucket(self, peer: str) -> Bucket:
        if peer not in self._buckets:
            self._buckets[peer] = Bucket(REQUESTS_PER_S, REQUESTS_BURST, self._now_s())
        return self._buckets[peer]

    def _no(self, status: int, cause: str, peer: str | None, why: str, hint: str) -> JSONResponse:
        self._refusals.add(cause, peer or "a program of this machine", why)
        content = {"error": why, "hint": hint}
        return JSONResponse(content, status, headers={"connection": "close"})


def _signed(send: Send) -> Send:
    """Every answer says which API it is of."""

    async def signed(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = (API_HEADER.encode(), str(API).encode())
            message = {**message, "headers": [*message.get("headers", ()), own]}
        await send(message)

    return signed


class _Body:
    """The body of one request, as long as it stays within its limits.

    What the application does between two parts is not counted: our disk is not their fault.
    """

    def __init__(self, scope: Scope, receive: Receive, now_s: Callable[[], float]) -> None:
        self._scope = scope
        self._receive = receive
        self._now_s = now_s
        self._count = 0
        self._waited_s = 0.0
        self._complete = False

    async def receive(self) -> Message:
        """The next part. Raises HTTPException, which the application turns into an answer."""
        if self._complete:
            return await self._receive()  # it waits for the client to leave, as long as it takes
        self._check(self._announced())
        began_s = self._now_s()
        allowed_s = BODY_WAIT_S + self._count / BODY_MIN_BYTES_S - self._waited_s
        try:
            async with asyncio.timeout(max(allowed_s, 0)):
                message = await self._receive()
        except TimeoutError:
            text = f"the body came too slowly: {self._count} bytes in {self._waited_s:.0f} s"
            raise HTTPException(408, text, {"connection": "close"}) from None
        self._waited_s += self._now_s() - began_s
        if message["type"] == "http.request":
            self._count += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)
        self._check(self._count)
        return message

    def _check(self, count: int) -> None:
        # The application has found the route by the time that it asks for the body.
        most = _body_max_bytes.get(self._scope.get("endpoint"), BODY_MAX_BYTES)
        if count > most:
            text = f"a body of {count} bytes or more, expected {most} at most"
            raise HTTPException(413, text, {"connection": "close"})

    def _announced(self) -> int:
        """What Content-Length says; h11 lets only digits through."""
        lengths = [value for name, value in self._scope["headers"] if name == b"content-length"]
        return int(lengths[0]) if lengths else 0
