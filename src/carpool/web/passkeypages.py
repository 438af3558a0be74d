"""Passkeys of one's own account, and the login with one.

Room: web. What a browser's script adds to a form; without script, or at an IP address, everything
else is there as before. An account has a second factor first: so there is a way in wherever a
passkey is none.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from carpool.errors import CarpoolError
from carpool.kernel.journal import say
from carpool.web import passkeys
from carpool.web.accounts import Account
from carpool.web.login import form_page, host_of, let_in, local, refusal, source_of, too_many
from carpool.web.page import Pages, Visit, check_site, form_of, web_of
from carpool.web.passkeys import Passkey
from carpool.web.role import Role

PATH = "/account/passkeys"

pages = Pages()


@pages.get(PATH)
async def show_passkeys(visit: Visit) -> Response:
    return _page(visit)


@pages.post(f"{PATH}/add", Role.VIEWER)
async def add_passkey(visit: Visit) -> Response:
    web, form, host = visit.web, visit.form, host_of(visit.request)
    if error := await refusal(visit):
        return _page(visit, 422, CarpoolError(error))
    try:
        if reason := passkeys.why_not(host):
            raise CarpoolError(reason)
        fresh = await asyncio.to_thread(
            passkeys.made,
            form.get("name", ""),
            form.get("answer", ""),
            origin_of(visit.request),
            host,
            web.wall_s(),
            web.challenges,
        )
        await asyncio.to_thread(
            web.accounts.change, visit.account.name, lambda one: _with(one, fresh)
        )
    except CarpoolError as refused:
        return _page(visit, 422, refused)
    web.note(visit.by, f"added the passkey {fresh.name} for {host}")
    return visit.to(PATH)


@pages.post(f"{PATH}/remove", Role.VIEWER)
async def remove_passkey(visit: Visit) -> Response:
    key = visit.form.get("id", "")
    gone = [one for one in visit.account.passkeys if one.id == key]
    if not gone:
        return _page(visit, 422, CarpoolError("you have no such passkey"))

    def change(one: Account) -> Account:
        return replace(one, passkeys=tuple(each for each in one.passkeys if each.id != key))

    await asyncio.to_thread(visit.web.accounts.change, visit.account.name, change)
    visit.web.note(visit.by, f"removed the passkey {gone[0].name}")
    return visit.to(PATH)


async def log_in_passkey(request: Request) -> Response:
    """In place of password and code: the key is there, and its owner was verified by it."""
    check_site(request)
    web, source, form = web_of(request), source_of(request), await form_of(request)
    web.look_at_accounts()
    if (wait_s := web.token_throttle.wait_s(source, source)) > 0:
        return form_page(request, "", too_many(wait_s), "/", 429)
    web.token_throttle.wrong(source, source)
    answer = form.get("answer", "")
    try:
        key = passkeys.id_of(answer)
        found = web.accounts.by_passkey(key)
        if found is None or found[1].host != host_of(request):
            raise CarpoolError("no account here has this passkey")
        account, passkey = found
        count = await asyncio.to_thread(
            passkeys.count_of, passkey, answer, origin_of(request), web.challenges
        )
    except CarpoolError as refused:
        say(f"web: a passkey from {source}: {refused.message} {refused.hint}")
        return form_page(request, "", refused.message, "/", 403)
    web.token_throttle.right(source, source)
    used = replace(passkey, count=count, used_s=int(web.wall_s()))
    try:
        await asyncio.to_thread(web.accounts.change, account.name, lambda one: _used(one, used))
    except CarpoolError as error:  # a full disk keeps nobody out
        say(f"web: when a passkey was used is not kept: {error.message}")
    return let_in(request, account.name, local(form.get("next", "")), "logged in with a passkey")


open_routes = [Route("/login/passkey", log_in_passkey, methods=["POST"])]


def origin_of(request: Request) -> str:
    return f"https://{request.headers.get('host', '').lower()}"


def _with(account: Account, fresh: Passkey) -> Account:
    if account.second is None:
        raise CarpoolError("there is no second factor yet", hint="set it up first")
    if len(account.passkeys) >= passkeys.PASSKEYS_MAX:
        hint = "remove one"
        raise CarpoolError(f"there are {passkeys.PASSKEYS_MAX} passkeys already", hint=hint)
    if any(one.id == fresh.id for one in account.passkeys):
        raise CarpoolError("this passkey is there already")
    return replace(account, passkeys=(*account.passkeys, fresh))


def _used(account: Account, used: Passkey) -> Account:
    return replace(
        account, passkeys=tuple(used if one.id == used.id else one for one in account.passkeys)
    )


def _page(visit: Visit, status: int = 200, error: CarpoolError | None = None) -> Response:
    host, mine, web = host_of(visit.request), visit.account, visit.web
    reason = passkeys.why_not(host)
    options = ""
    if not reason and mine.second is not None:
        options = passkeys.to_make(mine.name, host, web.challenges.fresh(), mine.passkeys)
    return visit.page(
        "passkeys.html", status, error=error, host=host, reason=reason, options=options
    )
