"""An account of one's own: its password, its second factor, and its tokens for programs.

Room: web. What makes a way in wants the password once more: a browser that was left open for a
minute must not become one. A token and recovery codes are shown once, to who made them.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from starlette.responses import Response

from carpool.errors import CarpoolError
from carpool.web import tokens
from carpool.web.login import refusal
from carpool.web.page import Pages, Visit
from carpool.web.role import Role
from carpool.web.tokens import Token

PATH = "/account"

pages = Pages()


@dataclass(frozen=True, slots=True)
class Row:
    """A token, in words."""

    name: str
    role: str
    until: str
    used: str
    is_over: bool
    lost: str  # what of its role its account has no more


@pages.get(PATH)
async def account(visit: Visit) -> Response:
    return shown(visit)


@pages.post(f"{PATH}/tokens/add", Role.VIEWER)
async def add_token(visit: Visit) -> Response:
    form, wall_s = visit.form, visit.web.wall_s()
    if error := await refusal(visit):
        return shown(visit, 422, error=CarpoolError(error))
    text = tokens.PREFIX + secrets.token_urlsafe(32)
    try:
        role = _role(visit)
        fresh = tokens.made(form.get("name", ""), role, form.get("days", ""), text, wall_s)
        await asyncio.to_thread(
            visit.web.accounts.change,
            visit.account.name,
            lambda one: replace(one, tokens=tokens.added(one.tokens, fresh, wall_s)),
        )
    except CarpoolError as refused:
        return shown(visit, 422, error=refused)
    visit.web.made.put(visit.session.token, fresh.name, text)
    visit.web.note(visit.by, f"made the token {fresh.name} ({role.word}, until {day(fresh)})")
    return visit.to(PATH)


@pages.post(f"{PATH}/tokens/remove", Role.VIEWER)
async def remove_token(visit: Visit) -> Response:
    name = visit.form.get("name", "")
    if not any(one.name == name for one in visit.account.tokens):
        return shown(visit, 422, error=CarpoolError(f"you have no token {name[:64]!r}"))
    await asyncio.to_thread(
        visit.web.accounts.change,
        visit.account.name,
        lambda one: replace(one, tokens=tuple(each for each in one.tokens if each.name != name)),
    )
    visit.web.note(visit.by, f"removed the token {name}")
    return visit.to(PATH)


def shown(visit: Visit, status: int = 200, error: CarpoolError | None = None) -> Response:
    """The page, of the account as it is now."""
    web, mine = visit.web, visit.account
    return visit.page(
        "account.html",
        status,
        error=error,
        notes=web.notes.take(visit.session),
        made=web.made.take(visit.session.token) if error is None else None,
        rows=[_row(one, mine.role, web.wall_s()) for one in mine.tokens],
        roles=[role.word for role in Role if role <= mine.role],
        form=visit.form if error else {},
        days=tokens.DAYS,
        days_max=tokens.DAYS_MAX,
        recovery_left=len(mine.second.recovery) if mine.second else 0,
    )


def day(token: Token) -> str:
    return f"{datetime.fromtimestamp(token.until_s, UTC):%Y-%m-%d}"


def _row(token: Token, role: Role, wall_s: float) -> Row:
    used = "never"
    if token.used_s:
        used = f"{datetime.fromtimestamp(token.used_s, UTC):%Y-%m-%d %H:%M} UTC, or within the hour"
    lost = f"counts as {role.word}: you are no more than that" if token.role > role else ""
    return Row(token.name, token.role.word, day(token), used, token.is_over(wall_s), lost)


def _role(visit: Visit) -> Role:
    word = visit.form.get("role", "")
    for role in Role:
        if role.word == word and role <= visit.account.role:
            return role
    hint = f"you are {visit.account.role.word}: a token may that, or less"
    raise CarpoolError(f"{word[:32]!r} is no role of yours", hint=hint)
