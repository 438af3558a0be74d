"""How a page is made: its route, who may ask for it, and its template.

Room: web. `Pages` is the only way to a route, so that none can forget who may ask. A form is taken
only with the token of its session, from a page of ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from urllib.parse import parse_qsl, quote

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from carpool.web.accounts import Account, Role
from carpool.web.session import Session, is_token_of

if TYPE_CHECKING:
    from carpool.web.app import Web

COOKIE = "__Host-carpool"  # RFC 6265bis: Secure, Path=/ and no Domain, or browsers refuse it
TOKEN_FIELD, TOKEN_HEADER = "token", "carpool-token"
LIVE = "live"  # in the query of what a page asks for by itself
SAFE = ("GET", "HEAD")  # change nothing, and come without a form
WHOLE = "whole"  # beside it, where there is no JavaScript: the page, in place of a part of it
FORM_MAX_BYTES, FIELDS_MAX = 64 * 1024, 200
FORM_WAIT_S = 10.0  # for all of it
CLOSE = {"connection": "close"}
OWN_SITES = ("same-origin", "none")  # of Sec-Fetch-Site (W3C Fetch Metadata)


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of somebody who may make it."""

    request: Request
    web: Web
    account: Account
    session: Session
    form: dict[str, str]

    @property
    def by(self) -> str:
        """As events and the audit log name them."""
        return f"{self.account.name} from {self.session.source}"

    @property
    def is_live(self) -> bool:
        return is_part(self.request)

    def page(self, template: str, status: int = 200, **values: object) -> HTMLResponse:
        """A template, with what all of them show."""
        common = {
            "account": self.account,
            "session": self.session,
            "path": self.request.url.path,
            "may": lambda role: self.account.role >= Role[role.upper()],
        }
        return HTMLResponse(self.web.render(template, **common, **values), status)

    def to(self, path: str) -> Response:
        """After a form that was taken (RFC 9110 15.4.4)."""
        return RedirectResponse(path, 303)


Handler = Callable[[Visit], Awaitable[Response]]


class Pages:
    """The routes of one part of the site."""

    def __init__(self) -> None:
        self.routes: list[Route] = []
        self.roles: dict[tuple[str, str], Role] = {}  # by method and path, for tests

    def get(self, path: str, role: Role = Role.VIEWER) -> Callable[[Handler], Handler]:
        return self._add(path, "GET", role)

    def post(self, path: str, role: Role) -> Callable[[Handler], Handler]:
        return self._add(path, "POST", role)

    def _add(self, path: str, method: str, role: Role) -> Callable[[Handler], Handler]:
        def add(handler: Handler) -> Handler:
            async def endpoint(request: Request) -> Response:
                return await _guarded(request, role, handler)

            self.routes.append(Route(path, endpoint, methods=[method], name=handler.__name__))
            self.roles[method, path] = role
            return handler

        return add


async def _guarded(request: Request, role: Role, handler: Handler) -> Response:
    web = web_of(request)
    session = session_of(request)
    account = web.accounts.find(session.account) if session else None
    if session is None or account is None:
        return _to_login(request)
    if account.one_time and request.url.path not in ("/password", "/logout"):
        return RedirectResponse("/password", 303)
    form = {} if request.method in SAFE else await form_of(request)
    if request.method not in SAFE:
        check_token(request, session, form)
    if account.role < role:
        raise HTTPException(403, f"{account.name} is {account.role.word}; this takes {role.word}")
    return await handler(Visit(request, web, account, session, form))


def web_of(request: Request) -> Web:
    return cast("Web", request.app.state.web)


def is_part(request: Request) -> bool:
    """Whether htmx asks, for the part of a page that it renews."""
    return LIVE in request.query_params and WHOLE not in request.query_params


def session_of(request: Request) -> Session | None:
    key = request.cookies.get(web_of(request).cookie, "")
    by_hand = LIVE not in request.query_params
    return web_of(request).sessions.find(key, by_hand=by_hand) if key else None


def _to_login(request: Request) -> Response:
    if is_part(request) or request.method not in SAFE:
        # htmx goes there with the whole page, in place of drawing the login into a part of it.
        return Response("log in", 401, {"HX-Redirect": "/login"})
    path = request.url.path
    return RedirectResponse("/login" if path == "/" else f"/login?next={quote(path)}", 303)


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form, of which each is there once. Raises HTTPException."""
    body, wait_s = b"", web_of(request).form_wait_s
    try:
        async with asyncio.timeout(wait_s):
            async for data in request.stream():
                body += data
                if len(body) > FORM_MAX_BYTES:
                    text = f"a form of more than {FORM_MAX_BYTES} bytes"
                    raise HTTPException(413, text, CLOSE)
    except TimeoutError:
        text = f"the form came too slowly: {len(body)} bytes in {wait_s:g} s"
        raise HTTPException(408, text, CLOSE) from None
    except ClientDisconnect:
        raise HTTPException(400, "the form did not come to its end", CLOSE) from None
    try:
        text = body.decode("ascii")
        found = parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError as error:
        raise HTTPException(400, f"no form: {error}") from error
    return dict(found)


def check_site(request: Request) -> None:
    """What another site's page sends comes with no rights of ours. Raises HTTPException."""
    if request.headers.get("sec-fetch-site", "none") not in OWN_SITES:
        raise HTTPException(403, "another site's page sent this")
    origin = request.headers.get("origin")
    if origin is not None and origin != f"https://{request.headers.get('host', '')}":
        raise HTTPException(403, "another site's page sent this")


def check_token(request: Request, session: Session, form: dict[str, str]) -> None:
    check_site(request)
    token = request.headers.get(TOKEN_HEADER) or form.get(TOKEN_FIELD, "")
    if not is_token_of(session, token):
        raise HTTPException(403, "this form is of another session: load the page again")
