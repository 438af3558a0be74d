"""Asks this machine's own agent over its unix socket, for the command line.

Room: agent. Needs the standard library only: importing what the agent itself is made of takes
longer than most of its answers. Turns whatever goes wrong into a CarpoolError that says who did
what.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

from carpool.agent.objectlines import RESTART, Answer, ObjectLines
from carpool.agent.waits import ANSWER_WAIT_S, STREAM_WAIT_S
from carpool.errors import CarpoolError, ConfigError, PeerError, UnreachableError
from carpool.kernel.lines import parse_object

SOCKET = "agent.sock"  # in --run-dir
WEB_SOCKET = "web/agent.sock"  # there, for the pages alone
BY_HEADER = "carpool-by"  # for whom the pages ask: "admin from 10.0.0.5"
PIECE_BYTES = 64 * 1024

_KINDS: dict[int, type[CarpoolError]] = {
    403: PeerError,
    409: ConfigError,
    502: UnreachableError,
}


class LocalClient:
    """The agent of this machine. Use it as a context manager.

    Raises UnreachableError when it does not run; what it refuses is raised with its own words.
    """

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / SOCKET

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Each request has a connection of its own, which ends with it."""

    def get(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        timeout_s: float = ANSWER_WAIT_S,
    ) -> Answer:
        """The answer to GET; `timeout_s` seconds may pass without anything happening."""
        return self._whole("GET", path, None, params, timeout_s)

    def post(
        self,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        timeout_s: float = ANSWER_WAIT_S,
    ) -> Answer:
        """The answer to POST."""
        return self._whole("POST", path, body, params, timeout_s)

    def stream(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        timeout_s: float = STREAM_WAIT_S,
    ) -> Iterator[Answer]:
        """The objects of an answer that comes line by line (ndjson.py)."""
        with self._answer(method, path, body, None, timeout_s) as response:
            lines = ObjectLines("the agent")
            while data := response.read1(PIECE_BYTES):
                yield from lines.feed(data)
            lines.end()

    def _whole(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None,
        params: Mapping[str, str] | None,
        timeout_s: float,
    ) -> Answer:
        with self._answer(method, path, body, params, timeout_s) as response:
            answer = parse_object(response.read())
        if answer is None:
            raise PeerError(f"what {self._path} answered is no JSON object", hint=RESTART)
        return answer

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None,
        params: Mapping[str, str] | None,
        timeout_s: float,
    ) -> Iterator[HTTPResponse]:
        """An answer that is a success, its content still to come."""
        target = f"{path}?{urlencode(params)}" if params else path
        content = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        connection = HTTPConnection("agent", timeout=timeout_s)
        connection.sock = self._connected(timeout_s)
        try:
            with closing(connection):
                connection.request(method, target, content, headers)
                with connection.getresponse() as response:
                    if response.status >= 300:
                        raise refusal(response.status, response.read())
                    yield response
        except TimeoutError as error:
            raise UnreachableError(
                f"the agent has not answered on {self._path} within {timeout_s:g} s", hint=RESTART
            ) from error
        except (HTTPException, OSError) as error:
            raise UnreachableError(
                f"the agent broke off: {error}", hint="look at its log, and ask again"
            ) from error

    def _connected(self, timeout_s: float) -> socket.socket:
        stream = socket.socket(socket.AF_UNIX)
        stream.settimeout(timeout_s)
        try:
            stream.connect(str(self._path))
        except OSError as error:
            stream.close()
            hint = "start it: `carpool run agent`"
            if isinstance(error, PermissionError):
                hint = "run as root"
            why = error.strerror or str(error)
            text = f"the agent does not run ({self._path}: {why})"
            raise UnreachableError(text, hint=hint) from error
        return stream


def refusal(status: int, content: bytes) -> CarpoolError:
    """What our own agent refused, as it would have been raised here."""
    told = parse_object(content) or {}
    error = str(told.get("error") or f"the agent answered with HTTP status {status}")
    return _KINDS.get(status, CarpoolError)(error, hint=str(told.get("hint") or ""))
