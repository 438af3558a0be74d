"""The status page as HTML: what it says, when the group is well and when it is not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from html.parser import HTMLParser

import httpx
import pytest

from carpool.web.accounts import FIRST, Accounts, Role
from carpool.web.app import Web, build
from carpool.web.ask import Ask
from carpool.web.chart import charts_of
from carpool.web.checksview import checks_of
from carpool.web.driftview import configuration_of
from carpool.web.eventview import events_of
from carpool.web.groupview import Note, view_of
from carpool.web.lately import Seen
from carpool.web.page import COOKIE
from tests.unit.web.group import Told, pair, silent, with_texts

VOID = {"link", "meta", "img", "input", "br", "line", "path", "circle", "rect", "polyline"}
MOVE = {"time": "", "vhost": "51@lan", "old": "BACKUP", "new": "MASTER", "text": "it is gone"}
DRIFT: Told = {"peers": {"fw2": {"nftables": {"drift": "ahead", "since": ""}}}}
SAMPLES: Told = {
    "every_s": 10.0,
    "span_s": 3600.0,
    "samples": [{"ago_s": 10 - 10 * at, "entries": 7, "out_per_s": 1.5} for at in range(2)],
}
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}\x1b[2J"


class Page(HTMLParser):
    """Its words and tags; that all of them end where they should."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self._words: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self._words += data.split()

    @property
    def said(self) -> str:
        return " ".join(self._words)

    @property
    def names(self) -> set[str]:
        return {tag for tag, _attributes in self.tags}


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    directory = tmp_path_factory.mktemp("web")
    web = Web(Ask(directory / "agent.sock"), Accounts(directory))
    yield web
    asyncio.run(web.ask.close())


def live(web: Web, answer: Told) -> Page:
    return shown(web, answer, DRIFT, {"events": [MOVE]})


def shown(web: Web, answer: Told, drift: Told, events: Told) -> Page:
    html = web.render(
        "live.html",
        renews=True,
        view=view_of(answer),
        configuration=configuration_of(Seen(drift, None, 2.0)),
        charts=charts_of(Seen(SAMPLES, None, 0.0)),
        failovers=[],
        checks=checks_of(answer),
        happened=events_of(Seen(events, None, 0.0)),
    )
    return Page(html)


def test_a_healthy_pair(web: Web) -> None:
    page = live(web, pair())
    assert "OK · fw1" in page.said
    assert "You are on fw1 group edge" in page.said
    assert "fw2 takes over with all connections." in page.said
    assert "You are on this node fw1 MASTER" in page.said
    assert "51@lan 10.10.1.1/24 MASTER for 1 h 2 min" in page.said
    assert "BACKUP for 1 h 2 min hears fw1" in page.said
    assert "does not answer" not in page.said
    assert "differs" not in page.said


def test_which_node_this_is_said_once(web: Web) -> None:
    page = live(web, pair())
    cards = [each for tag, each in page.tags if tag == "article"]
    assert ["here" in (each["class"] or "").split() for each in cards] == [True, False]
    assert page.said.count("You are on this node") == 1


def test_a_silent_peer(web: Web) -> None:
    answer = silent(pair())
    answer["nodes"][0]["states"]["peers"][0].update(connected=False, last_error="refused")
    page = live(web, answer)
    assert "Alarm · fw1" in page.said
    assert "The group would not survive a failure of fw1 now: fw2 does not answer." in page.said
    assert "fw2 (10.10.3.3) has not answered is fw2 up? Heard last 14 s ago." in page.said
    assert "What it said 14 s ago , which may not be so any more:" in page.said
    assert "was BACKUP" in page.said
    assert "BACKUP for" not in page.said  # nothing old is said as if it were so


def test_a_peer_that_never_answered(web: Web) -> None:
    page = live(web, silent(pair(), None))
    assert "It has told nothing since this page was opened." in page.said
    assert "What it said" not in page.said


def test_a_failover_process_that_does_not_answer(web: Web) -> None:
    answer = pair()
    answer["nodes"][1]["failover"] = {"error": "no failover.sock", "hint": "`systemctl start`"}
    page = live(web, answer)
    assert "the failover process of fw2 does not answer" in page.said
    assert "fw2 failover silent no failover.sock systemctl start" in page.said
    assert "51@lan" in page.said  # as the other one tells


def test_a_group_that_tells_nothing(web: Web) -> None:
    page = live(web, {"here": "fw1", "nodes": [{"name": "fw1", "here": True}]})
    assert "No node tells its links." in page.said
    assert "No node tells of a VIP" in page.said


def test_versions_that_differ(web: Web) -> None:
    answer = pair()
    answer["nodes"][1]["system"] = "Debian GNU/Linux 13 (trixie)"
    assert live(web, answer).said.count("differs") == 2


@pytest.mark.parametrize("answer", [pair(), silent(pair())])
def test_no_text_of_anybody_becomes_more_than_text(web: Web, answer: Told) -> None:
    plain, hostile = live(web, answer), live(web, with_texts(answer, lambda one: one + HOSTILE))
    assert hostile.names <= plain.names | {"ul", "li", "code"}
    for _tag, attributes in hostile.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert "script" not in str(attributes.get("class"))
    assert "\x1b" not in hostile.said
    assert "{{ 7 * 7 }}" in hostile.said


def test_the_configuration(web: Web) -> None:
    said = live(web, pair()).said
    assert "1 of 1 section not in sync with fw2. as of 2.0 s ago" in said
    assert "nftables ahead" in said


def test_the_last_hour(web: Web) -> None:
    page = live(web, pair())
    assert "Connections in the table here: from 7 to 7, last 7, over 10 s." in page.said
    assert len([tag for tag, _attributes in page.tags if tag == "polyline"]) == 2


def test_the_last_events(web: Web) -> None:
    assert "51@lan BACKUP → MASTER it is gone" in live(web, pair()).said


def test_no_name_in_the_rest_becomes_more_than_text(web: Web) -> None:
    row = {"drift": HOSTILE, "why": HOSTILE, "since": HOSTILE}
    waits = {"what": HOSTILE, "by": HOSTILE, "left_s": 3}
    drift = {"peers": {HOSTILE: {HOSTILE: row}}, "waiting": waits, "waiting_on": {HOSTILE: waits}}
    page = shown(web, pair(), drift, {"events": [dict.fromkeys(MOVE, HOSTILE)]})
    assert page.names <= live(web, pair()).names


def test_the_agent_is_silent(web: Web) -> None:
    said = Note("bad", "the agent does not run", "start it: `systemctl start carpool-agent`")
    page = Page(web.render("live.html", view=None, error=said, renews=True))
    assert "No agent" in page.said
    assert "start it: systemctl start carpool-agent" in page.said
    assert "Failover and state replication go on without it" in page.said


# ----------------------------------------------------------------------------- over HTTP


def ask(web: Web, path: str, *, logged_in: bool = True) -> httpx.Response:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(app=build(web))
        key = web.sessions.begin(FIRST, "test") if logged_in else ""
        cookies = {COOKIE: key} if key else {}
        async with httpx.AsyncClient(
            transport=transport, base_url="https://fw1", cookies=cookies
        ) as client:
            return await client.get(path)

    return asyncio.run(asked())


@pytest.fixture(scope="module")
def known(web: Web) -> Web:
    """With somebody who may look."""
    first = web.accounts.open(lambda: "one-time-password")
    assert first
    web.accounts.set_password(FIRST, "a password of theirs")
    account = web.accounts.find(FIRST)
    assert account is not None
    assert account.role >= Role.VIEWER
    return web


def test_without_an_agent_the_page_is_there_and_renews_itself(known: Web) -> None:
    whole, part = ask(known, "/"), ask(known, "/?live=1")
    assert (whole.status_code, part.status_code) == (502, 200)  # htmx would not show an error
    assert "The agent of this node does not answer" in part.text
    assert 'hx-trigger="every 750ms"' in whole.text
    assert "<html" not in part.text


def test_without_javascript_the_whole_page_renews_itself(known: Web) -> None:
    page = Page(ask(known, "/").text)
    target = next(str(each["content"]) for tag, each in page.tags if each.get("http-equiv"))
    assert target == "5; url=/?live=1&whole=1"
    again = ask(known, "/?live=1&whole=1")
    assert "<html" in again.text
    assert ask(known, "/?live=1&whole=1", logged_in=False).headers["location"] == "/login"
    assert ask(known, "/?live=1", logged_in=False).headers["hx-redirect"] == "/login"
