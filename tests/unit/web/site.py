"""The pages in this process, for tests: no agent is there, time stands still, hashing is cheap."""

from __future__ import annotations

import asyncio
import re
from itertools import count
from pathlib import Path

import httpx
from argon2 import PasswordHasher
from starlette.types import ASGIApp

from carpool.web.accounts import Accounts, Role
from carpool.web.app import Web, build
from carpool.web.ask import Ask
from tests.visitor import Visitor

HOST = "https://fw1.example"
PASSWORD = "twelve or more of them"  # of everybody
ONE_TIME = "one-time"
WALL_S = 1_790_000_000.0


class Site:
    """With an account of each role, called as its role is."""

    def __init__(self, directory: Path) -> None:
        self.now_s = 1000.0
        self._loop = asyncio.new_event_loop()
        numbers = count(1)
        self.accounts = Accounts(directory, PasswordHasher(1, 8, parallelism=1))
        self.accounts.open(lambda: ONE_TIME)
        for role in Role:
            if role is not Role.ADMIN:
                self.accounts.add(role.word, role, ONE_TIME)
            self.accounts.set_password(role.word, PASSWORD)
        self.web = Web(
            Ask(directory / "agent.sock"),
            self.accounts,
            "0123abcd",
            now_s=lambda: self.now_s,
            random_hex=lambda size: f"{next(numbers):0{2 * size}x}",
            wall_s=lambda: WALL_S + self.now_s,
        )

    def close(self) -> None:
        self._loop.run_until_complete(self.web.ask.close())
        self._loop.close()

    def visitor(self, source: str = "192.0.2.9") -> Visitor:
        """Somebody who is not logged in."""
        transport = _InProcess(build(self.web), source, self._loop)
        return Visitor(httpx.Client(base_url=HOST, transport=transport))

    def logged_in(self, role: Role) -> Visitor:
        visitor = self.visitor()
        assert visitor.log_in(role.word, PASSWORD).status_code == 303
        return visitor


class _InProcess(httpx.BaseTransport):
    """From a client that waits to an application that does not."""

    def __init__(self, app: ASGIApp, source: str, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asgi = httpx.ASGITransport(app, raise_app_exceptions=False, client=(source, 40000))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._loop.run_until_complete(self._asked(request))

    async def _asked(self, request: httpx.Request) -> httpx.Response:
        answer = await self._asgi.handle_async_request(request)
        content = await answer.aread()
        return httpx.Response(answer.status_code, headers=answer.headers, content=content)


def filled(path: str) -> str:
    """A route's path with something in each place that takes anything."""
    return re.sub(r"\{\w+(?::\w+)?\}", "1", path)
