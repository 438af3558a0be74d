"""What may break a node is told before it gets any of it, and not without end. Where there are two
agents, they are real, on loopback, and so is TLS between them."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from carpool.agent.agent import Agent
from carpool.agent.answers import Has
from carpool.agent.app import build
from carpool.agent.apply import Refused
from carpool.agent.doorman import Doorman
from carpool.agent.hazards import (
    TOLD_MAX,
    found_hazards,
    refuse_hazards,
    search_between,
    warnings_of,
)
from carpool.agent.job import Event
from carpool.agent.plan import Plan
from carpool.agent.send import Wish
from carpool.errors import CarpoolError, ConfigError, KernelError, PeerError
from carpool.machine.preflight import Hazard
from carpool.model.config import Group, Node
from carpool.model.manifest import Entry, Kind
from carpool.model.section import Keep, Section
from tests.unit.agent.home import ADDRESSES, rooted_pair, serving

LISTEN = f"listen {ADDRESSES['fw1']}:80\n"
GENTLY = Wish("tester")


def test_a_file_that_went_meanwhile_is_said_to_have_changed(tmp_path: Path) -> None:
    new = Entry("/etc/a", Kind.FILE, size=3, sha256="0" * 64)
    plan = Plan.of(
        Section("web", paths=("/etc/a",)), {}, {new.path: new}, lambda _new: tmp_path / "gone"
    )
    with pytest.raises(KernelError, match="/etc/a changed after it was looked at"):
        found_hazards(lambda _path, _content: [], [plan])
    (tmp_path / "gone").mkdir()
    with pytest.raises(KernelError, match="cannot read /etc/a: Is a directory"):
        found_hazards(lambda _path, _content: [], [plan])


def hazards(count: int, *, likely: bool = False) -> list[Hazard]:
    return [Hazard("/etc/a", line, "eth0", "why", "do", likely) for line in range(1, count + 1)]


def test_the_likely_ones_come_first_and_the_rest_is_counted() -> None:
    rows = list(warnings_of([*hazards(TOLD_MAX), *hazards(1, likely=True)]))
    assert len(rows) == TOLD_MAX + 1
    assert rows[0] == {"step": "warning", "text": "/etc/a:1: eth0: why (do)"} == rows[1]
    assert rows[-1]["text"] == "and 1 more of that kind"
    assert list(warnings_of([])) == []


def test_only_the_likely_ones_are_refused() -> None:
    refuse_hazards(hazards(3), "fw2", "fw1")
    with pytest.raises(Refused, match="it would break fw2: /etc/a:1: eth0") as caught:
        refuse_hazards(hazards(1, likely=True), "fw2", "fw1")
    assert "mend it on fw1" in caught.value.hint


def test_each_peer_is_judged_by_what_it_has() -> None:
    own = {"lan": (ip_address("10.0.0.1"), ip_address("fd00::1"))}
    sender = Node("fw1", {"lan": "eth0", "dmz": "eth1"}, addresses=own)

    def told(receiver: str, addresses: list[str], devices: list[str]) -> list[str]:
        has = Has.model_validate({"addresses": addresses, "devices": devices})
        text = b"bind 10.0.0.1\nbind fd00::1\niifname eth0\niifname eth1\n"
        found = search_between(sender, Group("edge", ()), receiver, has)("/etc/a", text)
        assert all(f"of fw1, which {receiver} does not have" in one.why for one in found)
        return [one.what for one in found]

    assert told("fw2", ["10.0.0.2", "fd00::1"], ["eth0"]) == ["10.0.0.1", "eth1"]
    assert told("fw3", ["10.0.0.1"], ["eth1", "eth0"]) == ["fd00::1"]


class Tap:
    """In front of a node: what it is asked, and how many bytes of contents come."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.asked: list[str] = []
        self.contents = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        verb, path = scope.get("method"), str(scope.get("path"))
        self.asked.append(f"{verb} .../{path.rpartition('/')[2]}")

        async def heard() -> Message:
            message = await receive()
            if verb == "PUT":
                self.contents += len(message.get("body", b""))
            return message

        await self._app(scope, heard, send)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Agent, Agent]:
    return rooted_pair(tmp_path)


def write(agent: Agent, name: str, text: str) -> None:
    (agent.root / "etc/web" / name).write_text(text)


def synchronised(
    fw1: Agent, fw2: Agent, wish: Wish = GENTLY, app: FastAPI | None = None
) -> tuple[list[Event], Tap]:
    """The steps, or what ended them as the last of them; and what fw2 was asked."""
    tap = Tap(app or build(fw2))
    steps: list[Event] = []

    async def run() -> None:
        sender = fw1.configuration.sender
        async with serving(fw2, tap):
            try:
                async for event in sender.sync(sender.chosen(["web"]), fw1.peers["fw2"], wish):
                    steps.append(event)
            except CarpoolError as error:
                steps.append({"step": "raised", "error": error})
            finally:
                await fw1.close()
                await fw2.configuration.settled()

    asyncio.run(run())
    return steps, tap


def raised(steps: list[Event]) -> CarpoolError:
    error = steps[-1]["error"]
    assert isinstance(error, CarpoolError)
    return error


def test_what_would_break_a_peer_is_told_before_any_of_it_is_sent(
    pair: tuple[Agent, Agent],
) -> None:
    fw1, fw2 = pair
    write(fw1, "a.conf", f"harmless\n{LISTEN}")
    write(fw1, "b.conf", f"harmless\n{LISTEN}")  # the same content goes once, and is told twice
    write(fw1, "large", "harmless\n" * 100_000)
    steps, tap = synchronised(fw1, fw2)
    error = raised(steps)
    assert isinstance(error, Refused)
    assert error.message.startswith("it would break fw2: /etc/web/a.conf:2: 127.0.0.11: an address")
    assert "of fw1, which fw2 does not have" in error.message and "b.conf:2" in error.message
    assert "mend it on fw1" in error.hint
    assert [event["step"] for event in steps] == ["offer", "raised"]
    assert tap.contents == 0
    assert tap.asked == ["POST .../sync", "POST .../abandon"]
    stages = fw2.state_dir / "sync/stages"
    assert not (stages.exists() and list(stages.iterdir()))

    steps, tap = synchronised(fw1, fw2, replace(GENTLY, force=True))
    kinds = [event["step"] for event in steps]
    assert kinds.count("warning") == 2 and kinds[-1] == "end"
    assert kinds.index("warning") < kinds.index("sending")
    assert tap.contents > 900_000

    (fw1.root / "etc/web/b.conf").rename(fw1.root / "etc/web/c.conf")  # fw2 has it already
    steps, tap = synchronised(fw1, fw2)
    assert steps[-1]["outcome"] == "applied" and tap.contents == 0


def test_lines_that_the_peer_keeps_are_not_searched_when_it_has_them(
    pair: tuple[Agent, Agent],
) -> None:
    fw1, fw2 = pair
    for agent in pair:
        keep = (Keep("/etc/web/a.conf", "! node", "! end"),)
        agent.sections["web"] = replace(agent.sections["web"], keep=keep)
    write(fw1, "a.conf", f"! node\n{LISTEN}! end\n")
    assert "a.conf:2" in raised(synchronised(fw1, fw2)[0]).message, "the first time all of it comes"
    write(fw2, "a.conf", "! node\n! end\n")
    write(fw1, "a.conf", f"! node\n{LISTEN}! end\nnew\n")
    steps, _tap = synchronised(fw1, fw2)
    assert steps[-1]["outcome"] == "applied"
    assert "warning" not in [event["step"] for event in steps]
    write(fw1, "a.conf", f"! node\n{LISTEN}! end\n{LISTEN}")
    error = raised(synchronised(fw1, fw2)[0])
    assert "a.conf:4" in error.message and "a.conf:2" not in error.message
    steps, _tap = synchronised(fw1, fw2, replace(GENTLY, force=True))
    assert [event["text"] for event in steps if event["step"] == "warning"] != []
    write(fw1, "b.conf", "new\n")
    steps, _tap = synchronised(fw1, fw2)  # nothing of a.conf would change
    assert steps[-1]["outcome"] == "applied"
    assert "warning" not in [event["step"] for event in steps]
    write(fw1, "a.conf", f"! node\n{LISTEN}")
    steps, tap = synchronised(fw1, fw2)
    assert isinstance(raised(steps), ConfigError) and "has no end" in raised(steps).message
    assert tap.contents == 0


@pytest.mark.parametrize(
    ("has", "words"),
    [
        ({"addresses": ["127.0.0.300"], "devices": []}, "has.addresses.0"),
        ({"addresses": [], "devices": ["x"] * 257}, "has.devices"),
        ({"addresses": [], "devices": "lo"}, "has.devices"),
        ({}, "has.addresses"),
        (7, "has"),
        (None, ""),  # an older carpool, which searches what comes to it
    ],
)
def test_a_peer_that_says_nonsense_of_what_it_has_is_sent_nothing(
    pair: tuple[Agent, Agent], has: Any, words: str
) -> None:
    fw1, fw2 = pair
    write(fw1, "a.conf", LISTEN)
    impostor = FastAPI()
    impostor.add_middleware(Doorman, peers=fw2.peers, refusals=fw2.refusals)

    @impostor.post("/v1/peer/sync")
    async def offered() -> dict[str, object]:
        need = [hashlib.sha256(LISTEN.encode()).hexdigest()]
        return {"number": "7", "need": need, "has": has}

    @impostor.put("/v1/peer/sync/7/contents")
    async def contents(request: Request) -> dict[str, object]:
        await request.body()
        return {}

    steps, tap = synchronised(fw1, fw2, app=impostor)
    assert isinstance(raised(steps), PeerError) and words in raised(steps).message
    assert (tap.contents == 0) is bool(words)
