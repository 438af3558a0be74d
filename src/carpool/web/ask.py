"""Asks the agent of this machine, over its unix socket, without making anybody wait.

Room: web. Turns whatever goes wrong into a CarpoolError; refuses to know what is asked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx

from carpool.agent.localclient import BY_HEADER, refusal
from carpool.agent.objectlines import RESTART, Answer, ObjectLines
from carpool.agent.pool import Pool
from carpool.agent.waits import ANSWER_WAIT_S, STREAM_WAIT_S
from carpool.errors import CarpoolError, PeerError, UnreachableError
from carpool.kernel.lines import parse_object

CONNECTIONS_MAX = 16


class Ask:
    """`by` is told to the agent, which notes who did what."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pool = Pool(self._client)

    async def get(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        timeout_s: float = ANSWER_WAIT_S,
    ) -> Answer:
        """Raises UnreachableError, or what the agent refuses in its own words."""
        return await self._whole("GET", path, None, params, "", timeout_s)

    async def post(
        self,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        by: str,
        params: Mapping[str, str] | None = None,
        timeout_s: float = ANSWER_WAIT_S,
    ) -> Answer:
        return await self._whole("POST", path, body or {}, params, by, timeout_s)

    async def stream(
        self, path: str, body: Mapping[str, object], *, by: str, timeout_s: float = STREAM_WAIT_S
    ) -> AsyncIterator[Answer]:
        """The objects of an answer that comes line by line (agent/ndjson.py)."""
        request = self._request("POST", path, body, None, by, timeout_s)
        try:
            async with self._pool.send(request) as response:
                if not response.is_success:
                    raise refusal(response.status_code, await response.aread())
                lines = ObjectLines("the agent")
                async for data in response.aiter_raw():
                    for item in lines.feed(data):
                        yield item
                lines.end()
        except httpx.TransportError as error:
            raise self._lost(error, timeout_s) from error

    async def close(self) -> None:
        await self._pool.close()

    async def _whole(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None,
        params: Mapping[str, str] | None,
        by: str,
        timeout_s: float,
    ) -> Answer:
        request = self._request(method, path, body, params, by, timeout_s)
        try:
            async with self._pool.send(request) as response:
                await response.aread()
        except httpx.TransportError as error:
            raise self._lost(error, timeout_s) from error
        if not response.is_success:
            raise refusal(response.status_code, response.content)
        answer = parse_object(response.content)
        if answer is None:
            raise PeerError("what the agent answered is no JSON object", hint=RESTART)
        return answer

    def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None,
        params: Mapping[str, str] | None,
        by: str,
        timeout_s: float,
    ) -> httpx.Request:
        headers = {BY_HEADER: by} if by else {}
        if not {".", ".."}.isdisjoint(path.split("/")):  # of a form: it would be another route
            raise CarpoolError(f"no name: {path!r}", hint="load the page again")
        extensions = {"timeout": httpx.Timeout(timeout_s).as_dict()}
        return httpx.Request(
            method,
            f"http://agent{path}",
            json=body,
            params=params,
            headers=headers,
            extensions=extensions,
        )

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(
                uds=str(self._path), limits=httpx.Limits(max_connections=CONNECTIONS_MAX)
            ),
            trust_env=False,
        )

    def _lost(self, error: httpx.TransportError, timeout_s: float) -> UnreachableError:
        if isinstance(error, httpx.ConnectError):
            why = str(error.__cause__ or error)
            return UnreachableError(
                f"the agent does not run ({self._path}: {why})",
                hint="start it: `systemctl start carpool-agent`",
            )
        if isinstance(error, httpx.TimeoutException):
            text = f"the agent has not answered within {timeout_s:g} s"
            return UnreachableError(text, hint=RESTART)
        return UnreachableError(
            f"the agent broke off: {error}", hint="look at its log, and ask again"
        )
