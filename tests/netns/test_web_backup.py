"""The Backup and History pages, over HTTP as a browser without JavaScript asks for them, on a node
with a live agent and a live peer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from argon2 import PasswordHasher

from carpool.agent.localclient import SOCKET
from carpool.web.accounts import Accounts
from carpool.web.app import Web, build
from carpool.web.ask import Ask
from tests.netns.agents import made_group, start
from tests.netns.lab import Network
from tests.netns.nursery import NurseryNode
from tests.netns.pair import PAIR
from tests.netns.test_sync import SyncNode

SITE = "https://fw1.example"
PASSWORD = "a password of the test"
ENDS_WITHIN_S = 60.0
FAILS = 'echo "unknown directive <b>"; exit 1'


class Browser:
    """One that is logged in, and fills in forms."""

    def __init__(self, web: Web, http: httpx.AsyncClient) -> None:
        self.web = web
        self._http = http

    async def get(self, path: str, status: int = 200) -> str:
        answer = await self._http.get(path)
        assert answer.status_code == status, answer.text
        return answer.text

    async def post(self, path: str, /, status: int = 200, **fields: str) -> str:
        """The page that is shown after it; its address is in `at`."""
        token = re.search(r'name="token" value="(\w+)"', await self.get("/history"))
        assert token is not None
        answer = await self._http.post(path, data={**fields, "token": token[1]})
        assert answer.status_code == status, answer.text
        self.at = answer.url.path
        return answer.text

    async def job(self, path: str, **fields: str) -> str:
        """The page of what the form began, when it is over; it renews itself until then."""
        await self.post(path, 200, **fields)
        async with asyncio.timeout(ENDS_WITHIN_S):
            while 'http-equiv="refresh"' in (page := await self.get(self.at)):
                if "Keep it?" in page and "Take back" in page:
                    break
                await asyncio.sleep(0.05)
        return page


@asynccontextmanager
async def browser(run_dir: Path, state: Path) -> AsyncIterator[Browser]:
    quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    accounts = Accounts(state, quick)
    accounts.open(lambda: "first password")
    accounts.set_password("admin", PASSWORD)
    ask = Ask(run_dir / SOCKET)
    web = Web(ask, accounts)
    transport = httpx.ASGITransport(build(web))
    async with httpx.AsyncClient(
        base_url=SITE, transport=transport, follow_redirects=True, timeout=ENDS_WITHIN_S
    ) as http:
        answer = await http.post("/login", data={"name": "admin", "password": PASSWORD})
        assert answer.status_code in (200, 502), answer.text
        try:
            yield Browser(web, http)
        finally:
            await web.jobs.close()
            await ask.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(ENDS_WITHIN_S):
        while True:
            if condition():
                return
            await asyncio.sleep(0.05)


@pytest.fixture
def pair(network: Network, tmp_path: Path) -> tuple[SyncNode, SyncNode]:
    fw1, fw2 = map(SyncNode, made_group(network, tmp_path, PAIR, NurseryNode))
    fw1.write("etc/web.conf", "good <b>1</b>\n")
    fw2.write("etc/web.conf", "good 0\n")
    fw1.write("etc/web/x.key", "very secret\n")
    start(fw1.node, fw2.node)
    return fw1, fw2


def told(fw1: SyncNode, tmp_path: Path, story: Callable[[Browser], Awaitable[None]]) -> None:
    (tmp_path / "web").mkdir()

    async def tell() -> None:
        async with browser(fw1.node.run_dir, tmp_path / "web") as visitor:
            await story(visitor)

    asyncio.run(tell())


def test_a_synchronisation_with_its_diff_and_the_way_back(
    pair: tuple[SyncNode, SyncNode], tmp_path: Path
) -> None:
    fw1, fw2 = pair

    async def story(visitor: Browser) -> None:
        await check_diff(visitor)
        refused = await visitor.job("/backup/sync", peer="fw2")
        assert "failover does not say who is master here" in refused
        assert "run failover" in refused
        assert fw2.read("etc/web.conf") == "good 0\n"
        number = visitor.at.rpartition("/")[2]
        forced = await visitor.job("/backup/again", job=number)
        assert ">applied</span>" in forced, forced
        assert "reloaded webd" in forced
        assert fw2.read("etc/web.conf") == "good <b>1</b>\n"
        assert "nothing would change" in await visitor.get("/backup/diff?peer=fw2")
        await check_confirm(visitor, fw1, fw2)
        syncs = await visitor.get("/history/syncs")
        for outcome in ("applied", "waiting", "confirmed", "put back"):
            assert f">{outcome}</span>" in syncs
        assert "why &lt;i&gt;" in syncs
        await check_pull(visitor, fw1, fw2)

    told(fw1, tmp_path, story)


async def check_diff(visitor: Browser) -> None:
    """Each line says with a sign what becomes of it; nothing in it is HTML, or secret."""
    page = await visitor.get("/backup/diff?peer=fw2")
    assert "<del>-good 0</del>" in page
    assert "<ins>+good &lt;b&gt;1&lt;/b&gt;</ins>" in page
    assert "would reload webd" in page
    assert "secret: not shown" in page and "very secret" not in page


async def check_confirm(visitor: Browser, fw1: SyncNode, fw2: SyncNode) -> None:
    """What nobody has confirmed yet can be taken back, or kept, on the page of the job."""
    for number, (what, kept) in enumerate({"take-back": False, "confirm": True}.items(), 2):
        before = fw2.read("etc/web.conf")
        fw1.write("etc/web.conf", f"good {number}\n")
        form = {"peer": "fw2", "within": "3600", "force": "yes", "reason": "why <i>"}
        page = await visitor.job("/backup/sync", **form)
        assert "fw2 puts it back in" in page, page
        job = visitor.at.rpartition("/")[2]
        assert fw2.read("etc/web.conf") == f"good {number}\n"
        assert "waits there to be confirmed" in await visitor.get("/backup?node=fw2")
        page = await visitor.post("/backup/decide", what=what, peer="fw2", job=job)
        assert visitor.at == f"/backup/job/{job}"
        assert ("fw2: kept" if kept else "fw2: put back") in page, page
        assert "Keep it?" not in page
        assert fw2.read("etc/web.conf") == (f"good {number}\n" if kept else before)


async def check_pull(visitor: Browser, fw1: SyncNode, fw2: SyncNode) -> None:
    """What was changed on the peer comes home, after it was read."""
    fw2.write("etc/web.conf", "good 9\n")
    page = await visitor.get("/backup/pull?peer=fw2")
    assert "<ins>+good 9</ins>" in page, page
    assert fw1.read("etc/web.conf") != "good 9\n"
    page = await visitor.job("/backup/pull", peer="fw2", force="yes")
    assert "Take over from fw2" in page and ">applied</span>" in page, page
    assert fw1.read("etc/web.conf") == "good 9\n"
    assert "nothing would change" in await visitor.get("/backup/pull?peer=fw2")


def test_one_at_a_time_and_it_goes_on_without_its_browser(
    pair: tuple[SyncNode, SyncNode], tmp_path: Path
) -> None:
    fw1, fw2 = pair
    gate = fw2.path("gate")
    wait = f"touch {gate}.there; while ! test -e {gate}; do sleep 0.05; done"
    (fw2.services / "webd.reload").write_text(wait)

    async def story(visitor: Browser) -> None:
        running = await visitor.post("/backup/sync", peer="fw2", force="yes")
        first = visitor.at
        assert ">running</span>" in running
        second = await visitor.post("/backup/sync", 409, peer="fw2")
        assert "synchronise fw2 is under way already: admin from" in second
        other = await visitor.post("/backup/sync", 409)
        assert "synchronise fw2 is under way already: admin from" in other
        await until(fw2.path("gate.there").exists)
        live = await visitor.get(f"{first}?live=1")
        assert 'hx-trigger="every 750ms"' in live and "<html" not in live
        gate.touch()
        await until(lambda: not visitor.web.jobs.running)  # nobody asks for its page
        assert ">applied</span>" in await visitor.get(first)

    told(fw1, tmp_path, story)


def test_services_and_what_they_say_when_they_do_not_do_it(
    pair: tuple[SyncNode, SyncNode], tmp_path: Path
) -> None:
    fw1, fw2 = pair

    async def story(visitor: Browser) -> None:
        page = await visitor.get("/backup")
        assert "Services of fw2" in page and ">webd<" in page
        form = {"node": "fw2", "name": "webd", "action": "restart"}
        assert "fw2: webd is active, after restart" in await visitor.post(
            "/backup/service", 200, **form
        )
        assert fw2.log() == ["restart webd"]
        (fw2.services / "webd.restart").write_text(FAILS)
        page = await visitor.post("/backup/service", 200, **form)
        assert "gave exit status 1" in page and "unknown directive &lt;b&gt;" in page
        assert "unknown directive" not in await visitor.get("/backup")  # it was read
        await visitor.post("/backup/service", 400, node="fw2", name="webd", action="enable")
        page = await visitor.post("/backup/service", node="fw1", name="sshd", action="stop")
        assert "no section of this node names a service" in page
        fw2.kill()
        page = await visitor.get("/backup?node=fw2")
        assert "cannot connect to the agent of fw2" in page
        assert "does `carpool run agent` run on fw2" in page
        page = await visitor.job("/backup/sync", peer="fw2", force="yes")
        assert ">failed</span>" in page and "nothing was changed on fw2" in page, page

    told(fw1, tmp_path, story)


def test_a_revision_is_shown_and_brought_back(
    pair: tuple[SyncNode, SyncNode], tmp_path: Path
) -> None:
    fw1, fw2 = pair
    assert fw1.sync("web")[-1]["failed"] == []

    async def story(visitor: Browser) -> None:
        """On the peer, which has been given something."""
        fw2.write("etc/web.conf", "good, by hand\n")
        first = next(one for one in fw2.history() if one["kind"] == "received")
        assert first["short"] in await visitor.get("/history")
        assert "No revision" in await visitor.get("/history?section=nothing")
        page = await visitor.get(f"/history/{first['id']}")
        assert "<ins>+good &lt;b&gt;1&lt;/b&gt;</ins>" in page and "very secret" not in page
        back = f"/history/{first['id']}/rollback"
        await visitor.post(back, 400, sections="")
        page = await visitor.job(back, sections="", **{"section.web": "yes"})
        assert ">applied</span>" in page, page
        assert fw2.read("etc/web.conf") == "good <b>1</b>\n"
        await visitor.get("/history/nothing", 400)

    told(fw2, tmp_path, story)
