"""Logging in and out, and the password of one's own.

Room: web. The only pages that ask nobody who they are first.
"""

from __future__ import annotations

import asyncio
import re
from math import ceil
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from carpool.errors import CarpoolError
from carpool.kernel.journal import say
from carpool.web import passkeys
from carpool.web.accounts import PASSWORD_MAX, PASSWORD_MIN, Account, Role
from carpool.web.page import Pages, Visit, check_site, form_of, session_of, web_of

if TYPE_CHECKING:
    from carpool.web.app import Web

TOO_MANY = "too many wrong passwords"

pages = Pages()


async def show(request: Request) -> Response:
    if session_of(request) is not None:
        return RedirectResponse("/", 303)
    return form_page(request, "", "", local(request.query_params.get("next", "")))


async def log_in(request: Request) -> Response:
    check_site(request)
    web, form, source = web_of(request), await form_of(request), source_of(request)
    web.look_at_accounts()
    name, path = form.get("name", ""), local(form.get("next", ""))
    wait_s = web.throttle.wait_s(name, source)
    if wait_s > 0:
        answer = form_page(request, name, too_many(wait_s), path, 429)
        answer.headers["retry-after"] = str(ceil(wait_s))
        return answer
    account = await check_password(web, name, form.get("password", ""), source)
    if account is None:
        return form_page(request, name, "wrong name or password", path, 403)
    if account.second is not None:
        step = web.halfway.begin(name, account.password, path)
        return HTMLResponse(web.render("code.html", step=step, error=""))
    return let_in(request, account.name, path)


async def log_in_code(request: Request) -> Response:
    """The second step. It is there for who had the password right, and so says that it was."""
    check_site(request)
    web, form = web_of(request), await form_of(request)
    key = form.get("step", "")
    step = web.halfway.find(key)
    account = web.accounts.find(step.name) if step else None
    if step is None or account is None or account.password != step.password:
        return form_page(request, "", "that took too long: begin anew", "/", 403)
    if error := await show_code(request, step.name, form.get("code", "")):
        status = 429 if error.startswith(TOO_MANY) else 403
        return HTMLResponse(web.render("code.html", step=key, error=error), status)
    web.halfway.end(key)
    return let_in(request, step.name, step.path)


async def show_code(request: Request, name: str, code: str) -> str:
    """Why this code does not do; nothing if it does, and it never will again."""
    web, source = web_of(request), source_of(request)
    if (wait_s := web.throttle.wait_s(name, source)) > 0:
        return too_many(wait_s)
    web.throttle.wrong(name, source)
    try:
        is_right = await asyncio.to_thread(web.accounts.take_code, name, code, web.wall_s())
    except CarpoolError as error:
        return error.message
    if not is_right:
        web.note(f"{name} from {source}", "showed a wrong code of the second factor")
        return "that code is wrong, or was used: a new one comes each 30 seconds"
    web.throttle.right(name, source)
    return ""


def let_in(request: Request, name: str, path: str, how: str = "logged in") -> Response:
    web, source = web_of(request), source_of(request)
    web.note(f"{name} from {source}", how)
    answer = RedirectResponse(path, 303)
    web.sessions.end(request.cookies.get(web.cookie, ""))  # whosever it was
    _keep(answer, web.cookie, web.sessions.begin(name, source))
    return answer


async def check_password(web: Web, name: str, password: str, source: str) -> Account | None:
    """The account, if that is its password; counted for the throttle, which was asked before. With
    a second factor it counts as a wrong try until that was right, too: who has the password must
    not get as many codes to guess as he likes."""
    web.throttle.wrong(name, source)  # until it is known better: tries at once count, too
    account = await asyncio.to_thread(web.accounts.check, name, password[:PASSWORD_MAX])
    if account is None:
        say(f"web: a wrong password for {name[:64]!r} from {source}")
        return None
    if account.second is None:
        web.throttle.right(name, source)
    return account


async def refusal(visit: Visit) -> str:
    """Of a form that asks for the password once more, as a session is not yet the password."""
    web, name, source = visit.web, visit.account.name, visit.session.source
    if (wait_s := web.throttle.wait_s(name, source)) > 0:
        return too_many(wait_s)
    if await check_password(web, name, visit.form.get("password", ""), source) is None:
        return "that is not your password"
    web.throttle.right(name, source)
    return ""


open_routes = [
    Route("/login", show, methods=["GET"]),
    Route("/login", log_in, methods=["POST"], name="log_in"),
    Route("/login/code", log_in_code, methods=["POST"]),
]


@pages.post("/logout", Role.VIEWER)
async def log_out(visit: Visit) -> Response:
    visit.web.sessions.end(visit.request.cookies[visit.web.cookie])
    answer = visit.to("/login")
    answer.delete_cookie(visit.web.cookie, path="/", secure=True, httponly=True, samesite="strict")
    return answer


@pages.get("/password")
async def password(visit: Visit) -> Response:
    return visit.page("password.html", error="", least=PASSWORD_MIN)


@pages.post("/password", Role.VIEWER)
async def set_password(visit: Visit) -> Response:
    web, name, source = visit.web, visit.account.name, visit.session.source
    old, fresh = visit.form.get("old", ""), visit.form.get("fresh", "")
    if (wait_s := web.throttle.wait_s(name, source)) > 0:  # a session is not yet the password
        return visit.page("password.html", 429, error=too_many(wait_s), least=PASSWORD_MIN)
    if await check_password(web, name, old, source) is None:
        text = "the present password is another one"
        return visit.page("password.html", 422, error=text, least=PASSWORD_MIN)
    web.throttle.right(name, source)
    error = ""
    if fresh != visit.form.get("again", ""):
        error = "the two new ones differ"
    elif fresh == old:
        error = "that is the present one"
    else:
        try:
            await asyncio.to_thread(web.accounts.set_password, name, fresh)
        except CarpoolError as refused:
            error = f"{refused.message}; {refused.hint}"
    if error:
        return visit.page("password.html", 422, error=error, least=PASSWORD_MIN)
    web.note(visit.by, "set another password")
    web.sessions.end_all(name)
    answer = visit.to("/")
    _keep(answer, web.cookie, web.sessions.begin(name, source))
    return answer


def too_many(wait_s: float) -> str:
    return f"{TOO_MANY}: try again in {ceil(wait_s)} s"


def _keep(answer: Response, cookie: str, key: str) -> None:
    answer.set_cookie(cookie, key, secure=True, httponly=True, samesite="strict", path="/")


def source_of(request: Request) -> str:
    return request.client.host if request.client else "?"


def host_of(request: Request) -> str:
    """The name or address that the browser came by, without a port."""
    host = request.headers.get("host", "").lower()
    return re.sub(r":[0-9]*$", "", host)


def local(path: str) -> str:
    """A page of ours: never one of another site."""
    return path if path.startswith("/") and path[1:2] not in ("/", "\\") else "/"


def form_page(request: Request, name: str, error: str, path: str, status: int = 200) -> Response:
    web, host = web_of(request), host_of(request)
    options = "" if passkeys.why_not(host) else passkeys.to_ask(host, web.challenges.fresh())
    text = web.render("login.html", name=name, error=error, next=path, options=options)
    return HTMLResponse(text, status)
