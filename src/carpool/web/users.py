"""The accounts of the pages: who there is, and what each may; for admins.

Room: web. A one-time password is shown once, to who made it. Nobody changes an account of their
own here: so there is always an admin who can log in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.responses import Response

from carpool.errors import CarpoolError
from carpool.web.accounts import NAME_RULE, Role, one_time_password, without_second
from carpool.web.page import Pages, Visit

PATH = "/accounts"
FRESH_MAX = 64  # passwords that wait to be shown; the one that waits longest goes
# What each may, in words.
MAY = {
    Role.VIEWER: "sees everything, changes nothing",
    Role.OPERATOR: "also acts: services, synchronisation, switchover, maintenance",
    Role.ADMIN: "also changes settings, virtual IPs and accounts",
}

pages = Pages()


class Fresh:
    """One-time passwords, each until the next page of the session that made it."""

    def __init__(self) -> None:
        self._by_session: dict[str, tuple[str, str]] = {}

    def put(self, session: str, name: str, password: str) -> None:
        self._by_session.pop(session, None)
        while len(self._by_session) >= FRESH_MAX:
            del self._by_session[next(iter(self._by_session))]
        self._by_session[session] = name, password

    def take(self, session: str) -> tuple[str, str] | None:
        return self._by_session.pop(session, None)


@pages.get(PATH, Role.ADMIN)
async def accounts(visit: Visit) -> Response:
    return _page(visit, fresh=visit.web.fresh.take(visit.session.token))


@pages.post(f"{PATH}/add", Role.ADMIN)
async def add(visit: Visit) -> Response:
    name, password = visit.form.get("name", "").strip(), one_time_password()
    try:
        role = _role(visit)
        await asyncio.to_thread(visit.web.accounts.add, name, role, password)
    except CarpoolError as refused:
        return _refused(visit, refused, name)
    visit.web.fresh.put(visit.session.token, name, password)
    visit.web.note(visit.by, f"made the account {name} ({role.word})")
    return visit.to(PATH)


@pages.post(f"{PATH}/role", Role.ADMIN)
async def set_role(visit: Visit) -> Response:
    try:
        role = _role(visit)
        name = await _change(visit, lambda name: visit.web.accounts.set_role(name, role))
    except CarpoolError as refused:
        return _refused(visit, refused)
    visit.web.note(visit.by, f"made {name} {role.word}")
    return visit.to(PATH)


@pages.post(f"{PATH}/password", Role.ADMIN)
async def renew(visit: Visit) -> Response:
    password = one_time_password()
    try:
        name = await _change(visit, lambda name: visit.web.accounts.renew(name, password))
    except CarpoolError as refused:
        return _refused(visit, refused)
    visit.web.fresh.put(visit.session.token, name, password)
    visit.web.note(visit.by, f"gave {name} another one-time password")
    return visit.to(PATH)


@pages.post(f"{PATH}/second", Role.ADMIN)
async def take_off_second(visit: Visit) -> Response:
    """For who lost phone and recovery codes."""
    accounts = visit.web.accounts
    try:
        name = await _change(visit, lambda name: accounts.change(name, without_second))
    except CarpoolError as refused:
        return _refused(visit, refused)
    visit.web.note(visit.by, f"took the second factor off {name}")
    return visit.to(PATH)


@pages.post(f"{PATH}/remove", Role.ADMIN)
async def remove(visit: Visit) -> Response:
    try:
        name = await _change(visit, visit.web.accounts.remove)
    except CarpoolError as refused:
        return _refused(visit, refused)
    visit.web.note(visit.by, f"removed the account {name}")
    return visit.to(PATH)


async def _change(visit: Visit, change: Callable[[str], object]) -> str:
    """Of the account that a form names, whose sessions end; its name. Raises CarpoolError."""
    name = visit.form.get("name", "")
    if name == visit.account.name:
        raise CarpoolError("this is the account that you are logged in with", hint=_OWN)
    await asyncio.to_thread(change, name)
    visit.web.sessions.end_all(name)
    return name


_OWN = "another admin changes it; your password is behind your name, above"


def _role(visit: Visit) -> Role:
    word = visit.form.get("role", "")
    for role in Role:
        if role.word == word:
            return role
    known = ", ".join(role.word for role in Role)
    raise CarpoolError(f"{word[:32]!r} is no role", hint=f"it is one of {known}")


def _refused(visit: Visit, refused: CarpoolError, name: str = "") -> Response:
    return _page(visit, 422, error=refused, name=name)


def _page(visit: Visit, status: int = 200, **values: object) -> Response:
    here = {one.name: visit.web.sessions.sources(one.name) for one in visit.web.accounts.all()}
    shown = {"fresh": None, "error": None, "name": "", **values}
    return visit.page(
        "accounts.html",
        status,
        accounts=visit.web.accounts.all(),
        here=here,
        roles=[(role.word, MAY[role]) for role in Role],
        rule=NAME_RULE,
        **shown,
    )
