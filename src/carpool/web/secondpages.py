"""The second factor of one's own account: setting it up, its QR code, and switching it off.

Room: web. The secret waits in memory, for the session that is to confirm it, until an app has shown
a code of it: nobody is locked out by a QR code that was never read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from markupsafe import Markup
from starlette.responses import Response

from carpool.errors import CarpoolError
from carpool.web import second
from carpool.web.accounts import Account, one_time_password, without_second
from carpool.web.login import host_of, refusal, show_code
from carpool.web.notes import Note
from carpool.web.page import Pages, Visit
from carpool.web.role import Role

PATH = "/account/totp"
SETUPS_MAX = 64

pages = Pages()


class Setups:
    """Secrets that wait for their first code, by session; the oldest makes room."""

    def __init__(self, fresh: Callable[[], str] = second.fresh_secret) -> None:
        self._fresh = fresh
        self._by_session: dict[str, str] = {}

    def secret(self, session: str) -> str:
        """The same until it is dropped: a page that is loaded again shows the same code."""
        if session not in self._by_session:
            while len(self._by_session) >= SETUPS_MAX:
                del self._by_session[next(iter(self._by_session))]
            self._by_session[session] = self._fresh()
        return self._by_session[session]

    def drop(self, session: str) -> None:
        self._by_session.pop(session, None)


@pages.get(PATH)
async def totp(visit: Visit) -> Response:
    return _page(visit)


@pages.post(PATH, Role.VIEWER)
async def begin(visit: Visit) -> Response:
    web, name = visit.web, visit.account.name
    if error := await refusal(visit):
        return _page(visit, 422, error)
    codes = [one_time_password() for _ in range(second.RECOVERY_CODES)]
    secret = web.setups.secret(visit.session.token)
    fresh = second.begun(secret, visit.form.get("code", ""), codes, web.wall_s())
    if fresh is None:
        text = (
            "that is not the code of now: is the clock of the phone right, and that of this node?"
        )
        return _page(visit, 422, text)

    def change(one: Account) -> Account:
        if one.second is not None:
            raise CarpoolError("it is on already")
        return replace(one, second=fresh)

    try:
        await asyncio.to_thread(web.accounts.change, name, change)
    except CarpoolError as refused:
        return _page(visit, 422, refused.message)
    web.setups.drop(visit.session.token)
    web.made.put(visit.session.token, "", "\n".join(codes))
    web.note(visit.by, "switched the second factor on")
    return visit.to(PATH)


@pages.post(f"{PATH}/off", Role.VIEWER)
async def switch_off(visit: Visit) -> Response:
    """With the password or a code: who lost the phone has the password, and is logged in."""
    web, name = visit.web, visit.account.name
    code = visit.form.get("code", "")
    if visit.account.second is None:
        return visit.to(PATH)
    if error := await (show_code(visit.request, name, code) if code else refusal(visit)):
        return _page(visit, 422, error)
    try:
        await asyncio.to_thread(web.accounts.change, name, without_second)
    except CarpoolError as refused:
        return _page(visit, 422, refused.message)
    web.note(visit.by, "switched the second factor off")
    web.notes.add(visit.session, Note("The second factor is off: the password alone is enough."))
    return visit.to("/account")


def _page(visit: Visit, status: int = 200, error: str = "") -> Response:
    mine, web = visit.account, visit.web
    made = web.made.take(visit.session.token) if not error else None
    secret = "" if mine.second else web.setups.secret(visit.session.token)
    host = host_of(visit.request)
    return visit.page(
        "totp.html",
        status,
        error=error,
        is_on=mine.second is not None,
        left=len(mine.second.recovery) if mine.second else 0,
        codes=made[1].split("\n") if made and not made[0] else [],
        secret=" ".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
        picture=picture(second.address_of(secret, mine.name, host)) if secret else "",
    )


def picture(text: str) -> Markup:
    """A QR code as SVG, dark on light in either scheme, as cameras want it; without any style."""
    import segno  # for who sets one up

    code = segno.make(text, micro=False, error="m")
    svg = code.svg_inline(scale=4, dark="#000", light="#fff", svgclass="qr", lineclass=None)
    return Markup(svg)  # noqa: S704  of a library, made of numbers alone
