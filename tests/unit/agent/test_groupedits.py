"""Edits of group.toml by the routes of a real agent; a stand-in for failover takes them up."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from carpool.agent.agent import Agent
from carpool.agent.app import build
from carpool.agent.doorman import SCOPE_WEB
from carpool.agent.groupedits import BEFORE, JOURNAL
from carpool.api.groupedit import digest_of
from carpool.api.identity import introduce
from carpool.api.settings import load
from carpool.kernel.appliedfile import PROPOSED
from tests.unit.agent.home import asked_by

NODE = """\
name = "fw1"
[interface]
lan = "none-such"
[peer.fw2.address]
lan = "10.9.0.3"
"""
GROUP = """\
# of the office
name = "edge"

[[vip]]
interface = "lan"
vhid = 51  # the gateway
password = "rather secret"
addresses = ["10.9.0.1/24"]
"""
DMZ = {"interface": "lan", "vhid": 52, "password": "another", "addresses": ["10.9.0.7/24"]}
ADD = {"op": "add_vip", "values": DMZ}


class Failover:
    """Goes by the file when it is told to, and knows how to go back."""

    def __init__(self, home: Path) -> None:
        self.file, self.home = home / "group.toml", home
        self.state = "MASTER"
        self.text = self.before = self.file.read_text()
        self.waits = False
        self.refuses = ""
        self.proposed = ""
        self.forgets = False  # an older one knows no `proposed`

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = json.loads(await reader.readline())
        writer.write(json.dumps(self._answer(request)).encode() + b"\n")
        writer.close()

    def _answer(self, request: dict[str, Any]) -> dict[str, object]:
        match request["command"]:
            case "status":
                return self._status()
            case "reload" if self.refuses and not request.get("force"):
                return {"ok": False, "error": self.refuses, "hint": "say --force"}
            case "reload" if request.get("dry_run"):
                if request.get("proposed"):
                    self.proposed = (self.home / PROPOSED).read_text()
                told = {"proposed": True} if request.get("proposed") and not self.forgets else {}
                return {"ok": True, "changes": ["52@lan comes"], **told}
            case "reload":
                self.before, self.text = self.text, self.file.read_text()
                self.waits = "confirm_within_s" in request
                return {"ok": True, "changes": ["52@lan comes"], "waits": self.waits}
            case "confirm":
                self.waits = False
            case "take_back":
                self.waits, self.text = False, self.before
                self.file.write_text(self.before)
            case other:
                raise AssertionError(other)
        return {"ok": True}

    def _status(self) -> dict[str, object]:
        vhost = {"vhid": 51, "interface": "lan", "state": self.state}
        change = {"confirm_left_s": 60.0, "with_peers": True} if self.waits else None
        digest = hashlib.sha256(self.text.encode()).hexdigest()
        return {"ok": True, "vhosts": [vhost], "group_digest": digest, "change": change}


class Home:
    """One node without a peer."""

    def __init__(self, directory: Path) -> None:
        (directory / "node.toml").write_text(NODE)
        (directory / "group.toml").write_text(GROUP)
        (directory / "group.toml").chmod(0o600)
        self.begin(directory)

    def begin(self, directory: Path) -> None:
        """By the files that are there."""
        self.directory = directory
        config, problems = load(directory)
        assert config is not None, problems
        self.agent = Agent(config, config_dir=directory, run_dir=directory, state_dir=directory)
        self.failover = Failover(directory)

    @property
    def text(self) -> str:
        return (self.directory / "group.toml").read_text()

    @asynccontextmanager
    async def client(self, *, web: bool = False) -> AsyncIterator[httpx.AsyncClient]:
        server = await asyncio.start_unix_server(
            self.failover.serve, self.directory / "failover.sock"
        )
        app = asked_by(build(self.agent), None)

        async def by_a_door(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, SCOPE_WEB: web}, receive, send)

        transport = httpx.ASGITransport(by_a_door)
        headers = {"carpool-by": "ann from 192.0.2.7"}
        client = httpx.AsyncClient(transport=transport, base_url="http://a", headers=headers)
        async with server, client:
            yield client
            await self.agent.close()

    def post(self, *asked: tuple[str, dict[str, object]]) -> list[httpx.Response]:
        """One after the other."""

        async def work() -> list[httpx.Response]:
            async with self.client() as client:
                return [await client.post(path, json=body) for path, body in asked]

        return asyncio.run(work())

    def edit(self, *edits: object, **more: object) -> dict[str, object]:
        return {"digest": digest_of(self.text), "edits": list(edits), **more}

    def apply(self, *edits: object, **more: object) -> tuple[str, dict[str, object]]:
        return "/v1/group/apply", self.edit(*edits, confirm_within_s=60, **more)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def steps(answer: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.text.splitlines()]


def test_the_values_come_without_passwords(home: Home) -> None:
    async def get() -> httpx.Response:
        async with home.client() as client:
            return await client.get("/v1/group")

    answer = asyncio.run(get())
    told = answer.json()
    assert told["digest"] == digest_of(GROUP)
    assert told["values"]["vip"][0]["password"] is True
    assert "rather secret" not in answer.text
    assert told["refused"] is None
    assert told["interfaces"] == {"lan": "none-such"}


def test_a_preview_tells_the_diff_and_what_failover_would_do(home: Home) -> None:
    (answer,) = home.post(("/v1/group/preview", home.edit(ADD)))
    told = answer.json()
    assert told["changed"] and told["ok"]
    assert told["failover"] == {"changes": ["52@lan comes"]}
    (file,) = told["sections"][0]["files"]
    assert "+vhid = 52" in file["text"]
    assert "+password = (hidden)" in file["text"]
    assert "vhid = 52" in home.failover.proposed
    assert not (home.directory / PROPOSED).exists(), "it holds passwords"
    assert home.text == GROUP


def test_a_preview_tells_mistakes_as_check_does(home: Home) -> None:
    wrong = {**DMZ, "vhid": 0, "addresses": ["10.9.0.1/24"], "colour": "red"}
    (answer,) = home.post(("/v1/group/preview", home.edit({"op": "add_vip", "values": wrong})))
    told = answer.json()
    assert not told["ok"] and told["failover"] == {}
    by_key = {one["key"]: one for one in told["problems"]}
    assert by_key["vip[1].vhid"]["line"] and by_key["vip[1].vhid"]["expected"]
    assert "vip[1].colour" in by_key
    assert home.failover.proposed == ""


def test_a_preview_tells_what_failover_refuses(home: Home) -> None:
    home.failover.refuses = "it would make this node fail"
    (answer,) = home.post(("/v1/group/preview", home.edit(ADD)))
    assert answer.json()["failover"] == {
        "error": "it would make this node fail",
        "hint": "say --force",
    }
    home.failover.refuses, home.failover.forgets = "", True
    (answer,) = home.post(("/v1/group/preview", home.edit(ADD)))
    assert "older" in answer.json()["failover"]["error"]


def test_an_edit_waits_and_is_kept_when_it_is_confirmed(home: Home) -> None:
    applied, confirmed = home.post(home.apply(ADD), ("/v1/confirm", {"peers": []}))
    told = steps(applied)
    assert told[-1] == {"step": "over", "failed": []}
    assert told[-2] == {"step": "end", "peer": "fw1", "outcome": "waiting"}
    assert [one["outcome"] for one in home.agent.configuration.results.read()] == [
        "waiting",
        "confirmed",
    ]
    assert {"step": "group", "changes": ["52@lan comes"]} in told
    assert "error" not in json.dumps(confirmed.json())
    assert home.text.startswith(GROUP) and "vhid = 52" in home.text
    assert not home.failover.waits
    assert (home.directory / "group.toml").stat().st_mode & 0o777 == 0o600
    assert (home.directory / f"group.toml{BEFORE}").read_text() == GROUP
    assert not (home.directory / JOURNAL).exists()


def test_an_edit_is_taken_back_byte_for_byte(home: Home) -> None:
    home.post(home.apply(ADD), ("/v1/take-back", {"peers": []}))
    assert home.text == GROUP
    assert home.failover.text == GROUP


def test_while_one_waits_there_is_no_second(home: Home) -> None:
    first = home.apply(ADD)
    answers = home.post(first, ("/v1/group/apply", {**first[1], "digest": "0" * 64}))
    assert answers[1].status_code == 200
    assert "was changed since" in steps(answers[1])[-1]["error"]
    again = home.apply({"op": "remove_vip", "vip": "52@lan"})
    (answer,) = home.post(again)
    assert "waits to be confirmed" in steps(answer)[-1]["error"]


def test_what_failover_refuses_changes_nothing(home: Home) -> None:
    home.failover.refuses = "no own address"
    (answer,) = home.post(home.apply(ADD))
    assert "no own address" in steps(answer)[-1]["error"]
    assert home.text == GROUP


def test_what_fails_after_the_file_is_written_is_put_back(home: Home) -> None:
    """A failover of an older carpool, or one that is started anew at that moment."""

    class Late(Failover):
        def _answer(self, request: dict[str, Any]) -> dict[str, object]:
            if request["command"] == "reload" and not request.get("proposed"):
                return {"ok": False, "error": "the device went away", "hint": ""}
            return super()._answer(request)

    home.failover = Late(home.directory)
    (answer,) = home.post(home.apply(ADD))
    last = steps(answer)[-1]
    assert "the device went away; everything is put back as it was" in last["error"]
    assert home.text == GROUP
    assert not (home.directory / JOURNAL).exists()


def paired(home: Home) -> None:
    """With fw2, which no connection can be made to from an address that is not this machine's."""
    away = '[peer.fw2.address]\nsync = "192.0.2.12"\n'
    node = f'{NODE[: NODE.index("[peer")]}sync = "none-other"\n[address]\nsync = "192.0.2.11"\n'
    (home.directory / "node.toml").write_text(f"{node}{away}")
    (home.directory / "group.toml").write_text(f'{GROUP}\n[sync]\ninterface = "sync"\n')
    introduce({"fw1": home.directory, "fw2": home.directory / "fw2"})
    home.begin(home.directory)


def test_a_peer_that_cannot_be_reached_has_all_put_back(home: Home) -> None:
    paired(home)
    text = home.text
    (answer,) = home.post(home.apply(ADD))
    told = steps(answer)
    assert told[-1] == {"step": "over", "failed": ["fw2"]}
    assert told[-2] == {"step": "warning", "text": "everything is put back as it was"}
    assert told[-3]["peer"] == "fw2" and told[-3]["error"]
    assert home.text == text


def test_who_is_away_can_be_left_out_and_confirming_asks_nobody_else(home: Home) -> None:
    paired(home)
    text = home.text

    async def work() -> tuple[Any, ...]:
        async with home.client() as client:
            away = (await client.get("/v1/group/away")).json()["peers"]["fw2"]
            path, body = home.apply(ADD, without=["fw2"])
            applied = await client.post(path, json=body)
            (waits,) = home.directory.glob("sync/unconfirmed.json")
            assert json.loads(waits.read_text()) == {"agreed": {}, "without": ["fw2"]}
            kept = (await client.post("/v1/confirm", json={"peers": []})).json()
            return away, steps(applied), kept, waits.exists()

    away, told, kept, waits = asyncio.run(work())
    assert away["away"] and away["why"] and not away["sign"] and away["age_s"] is None
    ends = [(one["peer"], one["outcome"]) for one in told if one["step"] == "end"]
    assert ends == [("fw2", "left out"), ("fw1", "waiting")]
    assert told[-1] == {"step": "over", "failed": []}
    assert kept["done"]["fw1"] == {"kept": "the change of the group"}
    assert home.text.startswith(text[: text.index("[sync]")]) and "vhid = 52" in home.text
    assert not home.failover.waits and not waits
    events = "".join(one.read_text() for one in home.directory.glob("agent.events*"))
    assert "changes group.toml without fw2: add VIP" in events


def test_only_a_peer_can_be_left_out(home: Home) -> None:
    paired(home)
    text = home.text
    (answer,) = home.post(home.apply(ADD, without=["fw9"]))
    assert "no peer fw9" in steps(answer)[-1]["error"]
    assert home.text == text


def test_another_agent_confirms_what_the_one_before_left_waiting(home: Home) -> None:
    home.post(home.apply(ADD))
    assert home.failover.waits
    failover = home.failover
    home.begin(home.directory)
    home.failover = failover

    async def work() -> dict[str, Any]:
        async with home.client() as client:
            await home.agent.configuration.recover()
            answer = await client.post("/v1/confirm", json={"peers": []})
            return dict(answer.json()["done"])

    assert asyncio.run(work()) == {"fw1": {"kept": "the change of the group"}}
    assert not home.failover.waits and "vhid = 52" in home.text


def test_a_text_with_mistakes_is_never_written(home: Home) -> None:
    (answer,) = home.post(home.apply({"op": "set", "path": ["vip", 0, "vhid"], "value": 999}))
    assert "nothing was changed: group.toml:6: vip[0].vhid" in steps(answer)[-1]["error"]
    assert home.text == GROUP


def test_only_the_primary_changes_it(home: Home) -> None:
    home.failover.state = "BACKUP"
    preview, applied = home.post(("/v1/group/preview", home.edit(ADD)), home.apply(ADD))
    assert "not MASTER of 51@lan" in preview.json()["refused"]["error"]
    assert "not MASTER of 51@lan" in steps(applied)[-1]["error"]
    assert home.text == GROUP


def test_the_events_say_who_edited_what_and_no_password(home: Home) -> None:
    home.post(home.apply(ADD))
    events = "".join(one.read_text() for one in home.directory.glob("agent.events*"))
    assert "ann from 192.0.2.7: changes group.toml: add VIP 52@lan" in events
    assert "another" not in events


@pytest.mark.parametrize(
    "body",
    [
        {"edits": []},
        {"edits": [{"op": "eat"}]},
        {"edits": [{"op": "set", "path": [{}], "value": 1}]},
        {"edits": [{"op": "set", "path": ["a"] * 99, "value": 1}]},
        {"edits": [ADD] * 101},
        {"digest": "x"},
        {"force": True},
    ],
)
def test_hostile_bodies_are_refused(home: Home, body: dict[str, object]) -> None:
    asked = {**home.edit(), **body} if body != {"edits": []} else {"edits": []}
    (answer,) = home.post(("/v1/group/preview", asked))
    assert answer.status_code == 422
    assert home.text == GROUP


def test_the_pages_cannot_have_root_run_a_command(home: Home) -> None:
    path = ["section", "x", "check"]
    asked = home.edit({"op": "set", "path": path, "value": ["/bin/sh", "-c", "id"]})

    async def post() -> httpx.Response:
        async with home.client(web=True) as client:
            return await client.post("/v1/group/preview", json=asked)

    answer = asyncio.run(post())
    assert answer.status_code == 403
    assert "commands that root runs" in answer.json()["error"]


def test_an_edit_that_was_cut_short_is_taken_out_again(home: Home) -> None:
    file = home.directory / "group.toml"
    new = f"{GROUP}# new\n"
    (home.directory / f"group.toml{BEFORE}").write_text(GROUP)
    (home.directory / JOURNAL).write_text(json.dumps({"new": digest_of(new)}))
    file.write_text(new)
    asyncio.run(home.agent.edits.recover())
    assert file.read_text() == GROUP
    (home.directory / JOURNAL).write_text(json.dumps({"new": digest_of(new)}))
    file.write_text(f"{new}# by hand since\n")
    asyncio.run(home.agent.edits.recover())
    assert file.read_text() == f"{new}# by hand since\n", "nobody's edit is undone but ours"
