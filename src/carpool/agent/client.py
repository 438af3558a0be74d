"""Asks the agents of peers, over mutual TLS.

Room: agent. Turns whatever goes wrong into a CarpoolError that says who did what. What a peer
answers is bounded in size and time; whether it is true is the business of who asked.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, TypeVar

import httpx
from pydantic import ValidationError

from carpool.agent.answers import API, API_HEADER, PeerAbout
from carpool.agent.objectlines import LINE_MAX_BYTES, Answer, ObjectLines
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


class PeerClient:
    """The agent of one peer, from our address to its own, both of the interface of `[sync]`.

    Keys are looked at for each request: no restart after pairing, and none after `unpair`. Raises
    UnreachableError when it cannot be reached, PeerError for what it does or refuses, and Trouble
    (a KernelError) when our own files allow no connection.
    """

    def __init__(self, keys: Keys, name: str, ends: tuple[Address, Address], port: int) -> None:
        self.name = name
        self.source, self.target = ends
        self.port = port
        self._keys = keys
        self._client: httpx.AsyncClient | None = None
        self._credentials: Credentials | None = None
        self._presented: bytes | None = None  # the certificate that was shown last

    async def about(self) -> PeerAbout:
        """What it says of itself, checked."""
        answer = await self.get("/v1/peer/about", timeout_s=ABOUT_WAIT_S)
        try:
            about = PeerAbout.model_validate(answer)
        except ValidationError as error:
            raise self._nonsense(f"its description: {error.errors()[0]['msg']}") from error
        if about.name != self.name:
            raise PeerError(
                f"{self.name} ({self.target}) calls itself {about.name[:64]!r}",
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
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

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
        client, credentials = await self._ready()
        content = {"json": body} if isinstance(body, Mapping) else {"content": body}
        request = client.build_request(
            method,
            path,
            params=params,
            timeout=httpx.Timeout(timeout_s, connect=CONNECT_WAIT_S),
            extensions={"trace": self._check_certificate},
            **content,
        )
        try:
            response = await client.send(request, stream=True)
            try:
                await self._judge(response)
                yield response
            finally:
                await response.aclose()
        except (httpx.TransportError, OSError) as error:
            raise self._lost(error, credentials) from error

    async def _ready(self) -> tuple[httpx.AsyncClient, Credentials]:
        """A client with the keys as they are in the files now."""
        found = self._keys.credentials(self.name)
        if self._client is None or self._credentials != found:
            await self.close()
            context = pinning(found, server=False)
            on_certificate(context, self._shown)
            target = f"[{self.target}]" if self.target.version == 6 else str(self.target)
            self._client = httpx.AsyncClient(
                base_url=f"https://{target}:{self.port}",
                transport=httpx.AsyncHTTPTransport(
                    verify=context,
                    local_address=str(self.source),
                    socket_options=SOCKET_OPTIONS,
                    limits=httpx.Limits(max_connections=CONNECTIONS_MAX, keepalive_expiry=KEEP_S),
                ),
                trust_env=False,  # no proxy comes in between
            )
            self._credentials = found
        return self._client, found

    def _shown(self, certificate: bytes) -> None:
        self._presented = certificate

    async def _check_certificate(self, event: str, info: Mapping[str, Any]) -> None:
        """Told by httpcore what it does: nothing is asked of who is not the one pinned."""
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

    def _lost(self, error: Exception, credentials: Credentials) -> CarpoolError:
        """Why there is no answer: OpenSSL knows best, where it had a say."""
        where = f"{self.name} ({self.target} port {self.port})"
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
        if isinstance(error, httpx.ConnectError):
            system = _cause(error, OSError)
            why = (system and system.strerror) or str(error)
            return UnreachableError(
                f"cannot connect to the agent of {where} from {self.source}: {why}",
                hint=f"does `carpool run agent` run on {self.name}, with [sync] in group.toml?",
            )
        return UnreachableError(
            f"the agent of {where} hung up: {str(error) or type(error).__name__}",
            hint=f"is it paired with {self._keys.node}, with its certificate of now? The log of "
            f"the agent on {self.name} tells",
        )

    def _wrong(self, trouble: Trouble) -> PeerError:
        return PeerError(
            f"no connection to the agent of {self.name} ({self.target}): {trouble.message}",
            hint=trouble.hint,
        )

    def _nonsense(self, why: str) -> PeerError:
        where = f"{self.name} ({self.target} port {self.port})"
        return PeerError(
            f"{where}: {why}", hint="is it carpool of this version that listens there?"
        )


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
