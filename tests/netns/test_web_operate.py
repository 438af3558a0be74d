"""The pages that move the mastership, on a live pair: what they say will happen is what happens."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher

from carpool.agent.localclient import SOCKET
from carpool.api.control import FAILOVER, request, socket_of
from carpool.kernel.clock import monotonic_s
from carpool.lab.lab import Lab
from carpool.web.accounts import FIRST, Accounts
from carpool.web.app import Web, build
from carpool.web.ask import Ask
from carpool.web.page import COOKIE
from tests.netns.lab import wait_until
from tests.netns.labs import held_lab

pytestmark = pytest.mark.timeout(120)
MOVES_WITHIN_S = 30.0


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with held_lab(with_agent=True) as made:
        yield made


class Browser:
    """One without JavaScript, logged in at the pages of fw1."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def get(self, path: str) -> str:
        answer = await self._http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    async def confirm(self, node: str, deed: str, status: int = 200, **fields: str) -> str:
        """What is said after the button of the page that asks first."""
        page = await self.get(f"/vips/act?node={node}&deed={deed}")
        token = re.search(r'name="token" value="(\w+)"', page)
        assert token is not None
        form = {"token": token[1], "node": node, "deed": deed, **fields}
        answer = await self._http.post("/vips/act", data=form)
        assert answer.status_code == status, answer.text
        return answer.text

    async def shows(self, path: str, *texts: str) -> None:
        """Sooner or later, all at once: what a peer tells is some tenths of a second old."""
        until_s = monotonic_s() + MOVES_WITHIN_S
        page = ""
        while monotonic_s() < until_s:
            page = await self.get(path)
            if all(text in page for text in texts):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"{path} does not show {texts}: {page}")


Visit = Callable[[Callable[[Browser], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def visit(lab: Lab, tmp_path: Path) -> Visit:
    def visit(work: Callable[[Browser], Coroutine[Any, Any, None]]) -> None:
        async def run() -> None:
            accounts = Accounts(tmp_path, PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
            accounts.open(lambda: "for one login")
            accounts.set_password(FIRST, "correct horse battery")
            ask = Ask(lab.firewalls["fw1"].run_dir / SOCKET)
            web = Web(ask, accounts)
            cookies = {COOKIE: web.sessions.begin(FIRST, "192.0.2.7")}
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(build(web)),
                base_url="https://fw1.example",
                cookies=cookies,
                follow_redirects=True,
            ) as http:
                await work(Browser(http))
            await ask.close()

        asyncio.run(run())

    return visit


def failover(lab: Lab, name: str) -> dict[str, Any]:
    return request(socket_of(lab.firewalls[name].run_dir, FAILOVER), {"command": "status"}, 5.0)


def becomes(lab: Lab, name: str, role: str) -> None:
    wait_until(lambda: failover(lab, name)["role"] == role, MOVES_WITHIN_S, f"{name} {role}")


def test_a_switchover_here_and_back_from_the_peer(lab: Lab, visit: Visit) -> None:
    async def work(at: Browser) -> None:
        await at.shows("/vips", "master of all 2 VHIDs", "backup, hearing fw1")
        page = await at.get("/vips/act?node=fw1&deed=switchover")
        assert "fw2 becomes MASTER of 51@lan, 52@wan." in page
        assert "fw1 handed over after" in await at.confirm("fw1", "switchover")
        await asyncio.to_thread(becomes, lab, "fw2", "MASTER")
        await asyncio.to_thread(becomes, lab, "fw1", "BACKUP")
        await at.shows("/vips", "master of all 2 VHIDs", "backup, hearing fw2")
        await at.shows("/events?kind=operator", "admin from 192.0.2.7: POST /v1/switchover: done")
        await at.shows("/events?kind=failovers&node=fw2", "10.10.1.2 is leaving")

        page = await at.confirm("fw1", "switchover", status=409)
        assert "nothing to hand over" in page

        page = await at.get("/vips/act?node=fw2&deed=switchover")
        assert "fw1 becomes MASTER of 51@lan, 52@wan." in page, "demoted by its own switchover"
        assert "fw2 handed over after" in await at.confirm("fw2", "switchover")
        await asyncio.to_thread(becomes, lab, "fw1", "MASTER")

    visit(work)


def test_the_tables_of_both_nodes_can_be_searched(lab: Lab, visit: Visit) -> None:
    sync = '"nowrap mono">10.10.3.'

    async def work(at: Browser) -> None:
        for node in ("fw1", "fw2"):
            page = await at.get(f"/connections?node={node}&address=10.10.3.0/24&protocol=tcp")
            assert f"entries on {node}." in page and sync in page, "the streams of the states"
            page = await at.get(f"/connections?node={node}&address=203.0.113.9")
            assert "No such entry among the" in page

    visit(work)


def test_maintenance_of_the_peer_with_its_reason(lab: Lab, visit: Visit) -> None:
    async def work(at: Browser) -> None:
        await at.shows("/vips", "master of all 2 VHIDs", "backup, hearing fw1")
        told = await at.confirm("fw2", "maintenance-on", reason="new <disk>")
        assert "fw2 is in maintenance mode, over restarts, until you end it." in told
        await at.shows("/vips", "maintenance: new &lt;disk&gt;", "backup, hearing fw1")
        page = await at.get("/vips/act?node=fw1&deed=switchover")
        assert "fw2: demoted, by switchover, maintenance: new &lt;disk&gt;." in page
        assert "Not now." in page, "it would come back at once"
        await at.shows("/events?kind=operator&node=fw2", "on fw1, admin from 192.0.2.7: ")
        again = await at.confirm("fw2", "maintenance-on")
        assert "was in maintenance mode already" in again
        assert "is out of maintenance mode" in await at.confirm("fw2", "maintenance-off")
        assert failover(lab, "fw2")["maintenance"] is False
        assert failover(lab, "fw1")["role"] == "MASTER"

    visit(work)


def test_one_node_is_disabled_and_the_last_one_is_not(lab: Lab, visit: Visit) -> None:
    async def work(at: Browser) -> None:
        await at.shows("/vips", "master of all 2 VHIDs", "backup, hearing fw1")
        assert "CARP is disabled on fw2" in await at.confirm("fw2", "disable")
        await asyncio.to_thread(becomes, lab, "fw2", "DISABLED")
        await at.shows("/vips", "CARP is disabled on this node")
        page = await at.confirm("fw1", "disable", status=409)
        assert "No other node could be MASTER of 51@lan, 52@wan" in page
        assert failover(lab, "fw1")["enabled"] is True
        assert "CARP is enabled on fw2." in await at.confirm("fw2", "enable")
        await asyncio.to_thread(becomes, lab, "fw2", "BACKUP")

    visit(work)
