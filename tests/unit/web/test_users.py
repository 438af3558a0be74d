"""The page of accounts, as a browser without JavaScript has it; there is no agent."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx

from carpool.web.accounts import Accounts, Role
from carpool.web.app import Web, build
from carpool.web.ask import Ask
from tests.unit.web.test_accounts import GOOD, QUICK

HOST = "https://fw1"


class Site:
    """With the accounts admin, boss (an admin, too) and anna, who all know GOOD."""

    def __init__(self, directory: Path) -> None:
        self.accounts = Accounts(directory, QUICK)
        self.accounts.open(lambda: GOOD)
        for name, role in (("boss", Role.ADMIN), ("anna", Role.OPERATOR)):
            self.accounts.add(name, role, GOOD)
        for name in ("admin", "boss", "anna"):
            self.accounts.set_password(name, GOOD)
        self.web = Web(Ask(directory / "no.sock"), self.accounts)
        self.app = build(self.web)

    def browser(self, address: str = "10.0.0.5") -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, client=(address, 1))
        return httpx.AsyncClient(transport=transport, base_url=HOST)

    async def logged_in(self, name: str, password: str = GOOD) -> Visitor:
        browser = self.browser()
        answer = await browser.post("/login", data={"name": name, "password": password})
        assert answer.status_code == 303, answer.text
        return Visitor(browser)


class Visitor:
    def __init__(self, browser: httpx.AsyncClient) -> None:
        self.browser = browser

    async def page(self) -> str:
        answer = await self.browser.get("/accounts")
        assert answer.status_code == 200, answer.text
        return answer.text

    async def does(self, what: str, **fields: str) -> httpx.Response:
        token = re.search('name="token" value="([0-9a-f]+)"', (await self.page()))
        assert token is not None
        data = {"token": token[1], **fields}
        return await self.browser.post(f"/accounts/{what}", data=data)


def visited(directory: Path, scenario: Callable[[Site], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        site = Site(directory)
        await scenario(site)
        await site.web.ask.close()

    asyncio.run(all_of_it())


def test_a_new_account_has_a_password_that_is_shown_once_and_good_for_one_login(
    tmp_path: Path,
) -> None:
    async def scenario(site: Site) -> None:
        admin = await site.logged_in("admin")
        boss = await site.logged_in("boss")
        answer = await admin.does("add", name="bert", role="viewer")
        assert (answer.status_code, answer.headers["location"]) == (303, "/accounts")
        assert "One-time password of" not in await boss.page(), "who made it sees it"
        found = re.search('class="one-time">([0-9a-f-]+)<', await admin.page())
        assert found is not None
        assert found[1] not in await admin.page()
        bert = await site.logged_in("bert", found[1])
        answer = await bert.browser.get("/")
        assert answer.headers["location"] == "/password"
        account = site.accounts.find("bert")
        assert account is not None and account.role is Role.VIEWER and account.one_time

    visited(tmp_path, scenario)


def test_an_account_that_changes_is_logged_out(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        admin = await site.logged_in("admin")
        for what in ({"role": "admin"}, {}, None):
            anna = await site.logged_in("anna")
            assert (await anna.browser.get("/password")).status_code == 200
            assert "Logged in from 10.0.0.5" in await admin.page()
            if what is None:
                answer = await admin.does("remove", name="anna")
            else:
                answer = await admin.does("role" if what else "password", name="anna", **what)
            assert answer.status_code == 303
            assert (await anna.browser.get("/password")).status_code == 303, "to the login"
            if what == {}:
                assert site.accounts.check("anna", GOOD) is None
                await admin.page()
                site.accounts.set_password("anna", GOOD)
        assert site.accounts.find("anna") is None

    visited(tmp_path, scenario)


def test_what_is_refused_is_said_and_changes_nothing(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        admin = await site.logged_in("admin")
        before = site.accounts.all()
        for what, fields, said in (
            ("add", {"name": "Bert", "role": "viewer"}, "is no name of an account"),
            ("add", {"name": "<script>", "role": "viewer"}, "&lt;script&gt;"),
            ("add", {"name": "anna", "role": "viewer"}, "there is an account anna already"),
            ("add", {"name": "bert", "role": "king"}, "is no role"),
            ("add", {"name": "bert"}, "is no role"),
            ("role", {"name": "anna", "role": ""}, "is no role"),
            ("role", {"name": "admin", "role": "viewer"}, "that you are logged in with"),
            ("password", {"name": "admin"}, "that you are logged in with"),
            ("remove", {"name": "admin"}, "that you are logged in with"),
            ("remove", {"name": "nobody"}, "there is no account"),
            ("remove", {}, "there is no account"),
        ):
            answer = await admin.does(what, **fields)
            assert answer.status_code == 422 and "Nothing changed" in answer.text, what
            assert said in answer.text and "<script>" not in answer.text, answer.text
        assert site.accounts.all() == before

    visited(tmp_path, scenario)


def test_it_is_for_admins_and_for_forms_of_their_own(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        before = site.accounts.all()
        anna = await site.logged_in("anna")
        assert (await anna.browser.get("/accounts")).status_code == 403
        session = next(iter(site.web.sessions._by_digest.values()))
        data = {"token": session.token, "name": "bert", "role": "admin"}
        assert (await anna.browser.post("/accounts/add", data=data)).status_code == 403
        admin = await site.logged_in("admin")
        for token in ("", session.token):
            answer = await admin.browser.post("/accounts/add", data={**data, "token": token})
            assert answer.status_code == 403
        stranger = await site.browser().post("/accounts/remove", data={"name": "anna"})
        assert stranger.status_code == 401
        assert site.accounts.all() == before
        assert 'href="/accounts"' not in (await anna.browser.get("/password")).text

    visited(tmp_path, scenario)
