"""What programs ask the pages for: health by status code, Prometheus metrics, one JSON object.

Room: web. Yes or no is told to anybody, as load balancers have no password; the rest to a token of
an account (RFC 6750), to an account (HTTP basic, RFC 7617) or to a browser that is logged in.
docs/monitoring.md is for their users.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from math import ceil

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from carpool.agent.objectlines import Answer
from carpool.agent.statuses import status_of
from carpool.api import metrics
from carpool.api.control import FAILOVER, STATES
from carpool.api.render import Fields
from carpool.errors import CarpoolError
from carpool.kernel.journal import say
from carpool.web import health
from carpool.web.accounts import Account
from carpool.web.atonce import POLL_WAIT_S
from carpool.web.login import check_password, source_of
from carpool.web.page import session_of, web_of

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
DRIFT_WAIT_S = "2"  # for peers to say how they stand; Prometheus waits for 10 s
ASKS_FOR_TOKEN = {"www-authenticate": 'Bearer realm="carpool", error="invalid_token"'}
MORE = ("/v1/schedule", "/v1/checks", "/v1/hooks", "/v1/alerts")  # what else of the agent is told
ASKS_FOR_PASSWORD = {"www-authenticate": 'Basic realm="carpool", charset="UTF-8"'}

Endpoint = Callable[[Request], Awaitable[Response]]


def _health(judge: Callable[[Fields], bool]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        """`yes` and 200; `no`, or `unknown` where nobody answers, and 503."""
        try:
            word = "yes" if judge(await web_of(request).own.get()) else "no"
        except CarpoolError:
            word = "unknown"
        return PlainTextResponse(f"{word}\n", 200 if word == "yes" else 503)

    return endpoint


def _guarded(show: Endpoint) -> Endpoint:
    """For accounts only; programs are refused in one line of text."""

    async def endpoint(request: Request) -> Response:
        try:
            await viewer_of(request)
        except HTTPException as error:
            return PlainTextResponse(f"{error.detail}\n", error.status_code, error.headers)
        return await show(request)

    return endpoint


async def show_metrics(request: Request) -> Response:
    web = web_of(request)

    async def ask(path: str, params: Mapping[str, str] | None = None) -> Answer | CarpoolError:
        try:
            return await web.ask.get(path, params, timeout_s=POLL_WAIT_S)
        except CarpoolError as error:
            return error

    node, drift, *more = await asyncio.gather(
        ask("/v1/node"), ask("/v1/drift", {"wait_s": DRIFT_WAIT_S}), *map(ask, MORE)
    )
    return PlainTextResponse(metrics.text(_answers(node, [drift, *more])), media_type=PROMETHEUS)


async def show_status(request: Request) -> Response:
    try:
        return JSONResponse(health.summary(await web_of(request).ask.get("/v1/nodes")))
    except CarpoolError as error:
        return JSONResponse({"error": error.message, "hint": error.hint}, status_of(error))


routes = [
    Route("/is-master", _health(health.is_master), methods=["GET"]),
    Route("/is-healthy", _health(health.is_healthy), methods=["GET"]),
    Route("/is-complete", _health(health.is_complete), methods=["GET"]),
    Route("/metrics", _guarded(show_metrics), methods=["GET"]),
    Route("/status.json", _guarded(show_status), methods=["GET"]),
]


def _answers(
    node: Answer | CarpoolError, more: list[Answer | CarpoolError]
) -> dict[str, Fields | CarpoolError]:
    """By process, as `carpool metrics` has them. What the agent refuses is not told: it runs no
    synchronisation, for instance."""
    if isinstance(node, CarpoolError):
        return {metrics.AGENT: node}
    agent: dict[str, object] = {"troubles": node.get("troubles")}
    for answer in more:
        agent |= answer if isinstance(answer, dict) else {}
    found: dict[str, Fields | CarpoolError] = {FAILOVER: _told(node.get(FAILOVER))}
    if node.get(STATES) is not None:
        found[STATES] = _told(node.get(STATES))
    return {**found, metrics.AGENT: agent}


def _told(answer: object) -> Fields | CarpoolError:
    if isinstance(answer, Mapping) and "error" not in answer:
        return answer
    return CarpoolError("it does not answer")


# ----------------------------------------------------------------------------- who may ask


async def viewer_of(request: Request) -> Account:
    """Who asks. Raises HTTPException."""
    web = web_of(request)
    kind, _, told = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        account: Account | None = await _by_token(request, told.strip())
    else:
        session = session_of(request)
        account = web.accounts.find(session.account) if session else None
    if account is None:
        account = await _by_password(request)
    if account.one_time:
        text = f"the password of {account.name} is for the first login: log in, and set another one"
        raise _refused(403, text)
    return account


async def _by_token(request: Request, told: str) -> Account:
    """With the role that the token has now. One that counts is taken at any time, as nobody guesses
    it; who shows others waits."""
    web, source = web_of(request), source_of(request)
    found = web.accounts.by_token(told, web.wall_s())
    if found is None:
        if (wait_s := web.token_throttle.wait_s(source, source)) > 0:
            raise _refused(429, "too many wrong tokens", {"retry-after": str(ceil(wait_s))})
        web.token_throttle.wrong(source, source)
        say(f"web: a token that does not count from {source}")
        text = "this token is unknown, or has expired: make another one at /account"
        raise _refused(401, text, ASKS_FOR_TOKEN)
    account, token = found
    try:
        await asyncio.to_thread(web.accounts.used, account, token, web.wall_s())
    except CarpoolError as error:
        say(f"web: when a token was used is not kept: {error.message}")
    return replace(account, role=min(account.role, token.role))


async def _by_password(request: Request) -> Account:
    name, password = _credentials(request)
    web, source = web_of(request), source_of(request)
    account = web.accounts.find(name)
    if account is not None and web.known.has(name, source, password, account.password):
        return _without_second(account)
    wait_s = web.throttle.wait_s(name, source)
    if wait_s > 0:
        raise _refused(429, "too many wrong passwords", {"retry-after": str(ceil(wait_s))})
    account = await check_password(web, name, password, source)
    if account is None:
        raise _refused(401, "wrong name or password", ASKS_FOR_PASSWORD)
    web.known.add(name, source, password, account.password)
    return _without_second(account)


def _without_second(account: Account) -> Account:
    """A password alone is not enough for an account that wants more. Raises HTTPException."""
    if account.second is not None:
        text = f"{account.name} has a second factor: make a token for this program at /account"
        raise _refused(403, text)
    return account


def _credentials(request: Request) -> tuple[str, str]:
    kind, _, told = request.headers.get("authorization", "").partition(" ")
    try:
        if kind.lower() != "basic":
            raise ValueError(kind)
        name, colon, password = base64.b64decode(told, validate=True).decode().partition(":")
    except (ValueError, binascii.Error):
        name = colon = password = ""
    if not colon:
        raise _refused(401, "name and password of an account are wanted", ASKS_FOR_PASSWORD)
    return name, password


def _refused(status: int, text: str, headers: Mapping[str, str] | None = None) -> HTTPException:
    return HTTPException(status, text, dict(headers or {}))
