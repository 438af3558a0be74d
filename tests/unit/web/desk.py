"""Somebody at the pages, with an agent that answers as it is told, for tests of views."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import httpx
from argon2 import PasswordHasher

from carpool.errors import CarpoolError
from carpool.web.accounts import FILE, Accounts, Role
from carpool.web.app import Web, build
from carpool.web.ask import Ask
from carpool.web.page import COOKIE

HOSTILE = "<script>alert(1)</script>\x1b[2J"
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class Agent:
    """`answers`: by path, or by `path?peer=NAME`; an error is raised."""

    def __init__(self, answers: Mapping[str, object]) -> None:
        self.answers = dict(answers)
        self.posts: list[tuple[str, object, object, str]] = []
        self.gets: list[tuple[str, Mapping[str, str]]] = []

    async def get(self, path: str, params: Mapping[str, str] | None = None, **_more: Any) -> object:
        self.gets.append((path, params or {}))
        return self._answer(path, params)

    async def post(
        self,
        path: str,
        body: object = None,
        *,
        by: str,
        params: Mapping[str, str] | None = None,
        timeout_s: float = 0,
    ) -> object:
        self.posts.append((path, body, params, by))
        return self._answer(path, params)

    def _answer(self, path: str, params: Mapping[str, str] | None) -> object:
        peer = (params or {}).get("peer")
        answer = self.answers.get(f"{path}?peer={peer}" if peer else path, {})
        if isinstance(answer, CarpoolError):
            raise answer
        return answer


class Desk:
    """One who is logged in, in a role."""

    def __init__(self, directory: Path, agent: Agent, role: Role = Role.OPERATOR) -> None:
        (directory / FILE).unlink(missing_ok=True)
        accounts = Accounts(directory, QUICK)
        accounts.open(lambda: "a password for one login")
        accounts.add("ann", role, "another one for one login")
        accounts.set_password("ann", "correct horse battery")
        self.web = Web(cast("Ask", agent), accounts)
        self.key = self.web.sessions.begin("ann", "192.0.2.7")
        session = self.web.sessions.find(self.key, by_hand=True)
        assert session is not None
        self.token = session.token

    def get(self, path: str) -> httpx.Response:
        return asyncio.run(self._ask("GET", path, None))

    def post(self, path: str, form: Mapping[str, str]) -> httpx.Response:
        return asyncio.run(self._ask("POST", path, {"token": self.token, **form}))

    async def _ask(self, method: str, path: str, form: Mapping[str, str] | None) -> httpx.Response:
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(build(self.web), raise_app_exceptions=False),
            base_url="https://fw1:8443",
            cookies={COOKIE: self.key},
        )
        async with client:
            return await client.request(method, path, data=form)
