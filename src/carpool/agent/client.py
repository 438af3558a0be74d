"""Asks the agents of peers, over mutual TLS.

Room: agent. Turns whatever goes wrong into a CarpoolError that says who did what. What a peer
answers is bounded in size and time; whether it is true is the business of who asked.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Mapping,
)
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar

import httpx
from pydantic import ValidationError

from carpool.agent.answers import API, API_HEADER, PeerAbout
from carpool.agent.objectlines import LINE_MAX_BYTES, Answer, ObjectLines
from carpool.agent.pool import Pool
from carpool.agent.waits import ANSWER_WAIT_S, STREAM_WAIT_S
from carpool.errors import CarpoolError, DefinitionError, PeerError, UnreachableError
from carpool.kernel.keys import Credentials, Keys, Trouble
from carpool.kernel.lines import parse_object
from carpool.kernel.tls import explained, on_certificate, pinning, wrong_certificate
from carpool.model.config import Address

CONNECT_WAIT_S = 3.0
ABOUT_WAIT_S = 5.0  # its failover process may take 3 s to say nothing
KEEP_S = 15.0  # an idle connection; less than the other end keeps it
ANSWER_MAX_BYTES = 64 * 1024 * 1024
CONNECTIONS_MAX = 4
SEND_DEAD_MS = 30_000  # TCP_USER_TIMEOUT: who does not read is let go
SOCKET_OPTIONS = (  # of both ends: a peer that is gone without a word is noticed
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SEND_DEAD_MS),
)

Body = Mapping[str, object] | bytes | AsyncIterable[bytes] | None
_Kind = TypeVar("_Kind", bound=BaseException)


class Door(NamedTuple):
    """Where a peer listens, and the address that we come from."""

    source: Address
    target: Address
    port: int

    @property
    def url(self) -> str:
        target = f"[{self.target}]" if self.target.version == 6 else str(self.target)
        return f"https://{target}:{self.port}"


class PeerClient:
    """The agent of one peer, from our address to its own, both of the interface of `[sync]`.

    After `move` the former door is tried, too: the peer may not have moved yet, or may have moved
    back. Keys are looked at for each request: no restart after pairing, and none after `unpair`.
    Raises UnreachableError when it cannot be reached, PeerError for what it does or refuses, and
    Trouble (a KernelError) when our own files allow no connection.
    """

    def __init__(self, keys: Keys, name: str, ends: tuple[Address, Address], port: int) -> None:
        self.name = name
        self._doors = [Door(*ends, port)]  # as we want it, and the former one
        self._at = 0  # where it answered last
        self._keys = keys
        self._pools: dict[Door, Pool] = {}
        self._credentials: Credentials | None = None
        self._presented: bytes | None = None  # the certificate that was shown last

    @property
    def door(self) -> Door:
        """Where it answered last, or is to be."""
        return self._doors[self._at]

    def move(self, ends: tuple[Address, Address], port: int) -> None:
        """From now on it is to be there. What is under way goes on."""
        wanted = Door(*ends, port)
        if wanted != self._doors[0]:
            former = self.door if self.door != wanted else self._doors[0]
            self._doors, self._at = [wanted, former], 0

    async def about(self) -> PeerAbout:
        """What it says of itself, checked."""
        answer = await self.get("/v1/peer/about", timeout_s=ABOUT_WAIT_S)
        try:
            about = PeerAbout.model_validate(answer)
        except ValidationError as error:
            raise self._nonsense(f"its description: {error.errors()[0]['msg']}") from error
        if about.name != self.name:
            raise PeerError(
                f"{self.name} ({self.door.target}) calls itself {about.name[:64]!r}",
                hint="`name` in its node.toml, and [peer.NAME] in ours, are to be the same",
            )
        return about

    async def get(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        timeout_s: float = ANSWER_WAIT_S,
        max_bytes: int = ANSWER_MAX_BYTES,
    ) -> Answer:
        """The answer to GET, of up to `max_bytes`; `timeout_s` seconds may pass without anything
        happening."""
        return await self._whole("GET", path, None, params, timeout_s, max_bytes)

    async def post(
        self, path: str, body: Body = None, *, timeout_s: float = ANSWER_WAIT_S
    ) -> Answer:
        """The answer to POST: a mapping goes as JSON, bytes as they are."""
        return await self._whole("POST", path, body, None, timeout_s)

    async def put(
        self, path: str, body: Body = None, *, timeout_s: float = ANSWER_WAIT_S
    ) -> Answer:
        """The answer to PUT; the same as `post` otherwise."""
        return await self._whole("PUT", path, body, None, timeout_s)

    async def stream(
        self,
        method: str,
        path: str,
        body: Body = None,
        *,
        timeout_s: float = STREAM_WAIT_S,
        max_bytes: int = ANSWER_MAX_BYTES,
    ) -> AsyncIterator[Answer]:
        """The objects of an answer that comes line by line (ndjson.py), of up to `max_bytes`."""
        async with self._answer(method, path, body, None, timeout_s) as response:
            lines, count = ObjectLines(self.name), 0
            async for data in response.aiter_raw():
                count += len(data)
                if count > max_bytes:
                    raise PeerError(f"{self.name} answered with more than {max_bytes} bytes")
                for item in lines.feed(data):
                    yield item
            lines.end()

    async def chunks(
        self, method: str, path: str, body: Body = None, *, timeout_s: float = STREAM_WAIT_S
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of an answer as they come. How many may come is for who asks to say, and to
        close this when it is enough."""
        async with self._answer(method, path, body, None, timeout_s) as response:
            async for data in response.aiter_raw():
                yield data

    async def close(self) -> None:
        """Hang up."""
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            await pool.close()

    async def _whole(
        self,
        method: str,
        path: str,
        body: Body,
        params: Mapping[str, str] | None,
        timeout_s: float,
        max_bytes: int = ANSWER_MAX_BYTES,
    ) -> Answer:
        async with self._answer(method, path, body, params, timeout_s) as response:
            answer = parse_object(await _bounded(response, max_bytes, self.name))
        if answer is None:
            raise self._nonsense("what it answered is no JSON object")
        return answer

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        body: Body,
        params: Mapping[str, str] | None,
        timeout_s: float,
    ) -> AsyncIterator[httpx.Response]:
        """An answer that is a success, its content still to come."""
        content = {"json": body} if isinstance(body, Mapping) else {"content": body}
        doors = self._doors if self._at == 0 else self._doors[::-1]
        failed: CarpoolError | None = None
        for door in doors:
            pool, credentials = await self._ready(door)
            trace = _Trace(self._check_certificate)
            timeout = httpx.Timeout(timeout_s, connect=CONNECT_WAIT_S)
            request = httpx.Request(
                method,
                f"{door.url}{path}",
                params=params,
                extensions={"trace": trace, "timeout": timeout.as_dict()},
                **content,
            )
            try:
                async with pool.send(request) as response:
                    if door in self._doors:  # it may have moved meanwhile
                        self._at = self._doors.index(door)
                    await self._judge(response)
                    yield response
                    return
            except (httpx.TransportError, OSError) as error:
                lost = self._lost(error, credentials, door)
                if trace.asked:  # it may have heard us: nobody asks it twice
                    raise lost from error
                failed = lost if failed is None or door == self._doors[0] else failed
        assert failed is not None
        raise failed

    async def _ready(self, door: Door) -> tuple[Pool, Credentials]:
        """Connections with the keys as they are in the files now."""
        found = self._keys.credentials(self.name)
        if self._credentials != found:
            await self.close()
        if door not in self._pools:
            context = pinning(found, server=False)
            on_certificate(context, self._shown)
            self._pools[door] = Pool(lambda: _client(door, context))
            self._credentials = found
        return self._pools[door], found

    def _shown(self, certificate: bytes) -> None:
        self._presented = certificate

    async def _check_certificate(self, event: str, info: Mapping[str, Any]) -> None:
        """Nothing is asked of who is not the one pinned."""
        if event != "connection.start_tls.complete":
            return
        tls = info["return_value"].get_extra_info("ssl_object")
        shown = tls.getpeercert(binary_form=True)
        assert self._credentials is not None
        if shown != self._credentials.pinned:
            raise self._wrong(wrong_certificate(self.name, self._credentials, shown))

    async def _judge(self, response: httpx.Response) -> None:
        theirs = response.headers.get(API_HEADER)
        if theirs is None:
            raise self._nonsense("its answer is not that of a carpool agent")
        if theirs != str(API):
            raise PeerError(
                f"the agent of {self.name} speaks API {theirs[:16]}, this node {API}",
                hint="install the same version of carpool on both",
            )
        if not response.is_success:
            told = parse_object(await _bounded(response, LINE_MAX_BYTES, self.name)) or {}
            why = told.get("error") or f"HTTP status {response.status_code}"
            other = response.status_code == HTTPStatus.FAILED_DEPENDENCY
            kind = DefinitionError if other else PeerError
            raise kind(f"{self.name}: {str(why)[:2000]}", hint=str(told.get("hint", ""))[:2000])

    def _lost(self, error: Exception, credentials: Credentials, door: Door) -> CarpoolError:
        """Why there is no answer: OpenSSL knows best, where it had a say."""
        where = f"{self.name} ({door.target} port {door.port})"
        if isinstance(error, httpx.TimeoutException):
            connecting = isinstance(error, httpx.ConnectTimeout)
            did = "could not be connected to" if connecting else "has not answered"
            return UnreachableError(
                f"the agent of {where} {did} in time",
                hint=f"is {self.name} up, and the link between the nodes?",
            )
        found = _cause(error, ssl.SSLError)
        if found is not None:
            names = (self._keys.node, self.name)
            return self._wrong(explained(found, names, credentials, self._presented))
        system = _cause(error, OSError)
        if isinstance(error, httpx.ConnectError) and not isinstance(system, ConnectionResetError):
            why = (system and system.strerror) or str(error)
            return UnreachableError(
                f"cannot connect to the agent of {where} from {door.source}: {why}",
                hint=f"does `carpool run agent` run on {self.name}, with [sync] in group.toml?",
            )
        return UnreachableError(
            f"the agent of {where} hung up: {str(error) or type(error).__name__}",
            hint=f"is it paired with {self._keys.node}, with its certificate of now? The log of "
            f"the agent on {self.name} tells",
        )

    def _wrong(self, trouble: Trouble) -> PeerError:
        return PeerError(
            f"no connection to the agent of {self.name} ({self.door.target}): {trouble.message}",
            hint=trouble.hint,
        )

    def _nonsense(self, why: str) -> PeerError:
        where = f"{self.name} ({self.door.target} port {self.door.port})"
        return PeerError(
            f"{where}: {why}", hint="is it carpool of this version that listens there?"
        )


def _client(door: Door, context: ssl.SSLContext) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(
            verify=context,
            local_address=str(door.source),
            socket_options=SOCKET_OPTIONS,
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX, keepalive_expiry=KEEP_S),
        ),
        trust_env=False,  # no proxy comes in between
    )


class _Trace:
    """Told by httpcore what becomes of one request."""

    def __init__(self, on_event: Callable[[str, Mapping[str, Any]], Awaitable[None]]) -> None:
        self._on_event = on_event
        self.asked = False  # something of the request was sent

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        self.asked = self.asked or event == "http11.send_request_headers.started"
        await self._on_event(event, info)


_WAITING = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


async def _bounded(response: httpx.Response, most: int, who: str) -> bytes:
    """The content as it was sent: nothing is unpacked, so it cannot grow here."""
    content = bytearray()
    async for data in response.aiter_raw():
        content += data
        if len(content) > most:
            raise PeerError(f"{who} answered with more than {most} bytes")
    return bytes(content)


def _cause(error: BaseException | None, kind: type[_Kind]) -> _Kind | None:
    """The nearest exception of a kind that led to this one; waiting for bytes is no reason."""
    while not (error is None or (isinstance(error, kind) and not isinstance(error, _WAITING))):
        error = error.__cause__ or error.__context__
    return error
