"""Changes of a node that meet or cannot be put back: what is refused, and in which words. Agents,
TLS and the service's commands are real."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from carpool.agent.agent import Agent
from carpool.agent.app import build
from carpool.agent.apply import Refused, Stuck
from carpool.agent.job import Event
from carpool.agent.send import Wish
from carpool.agent.server import serve
from carpool.agent.services import Action, CommandServices
from carpool.errors import KernelError, PeerError
from carpool.model.section import Service
from tests.unit.agent.home import asked_by, rooted_pair, serving, until
from tests.unit.agent.test_schedule import failover

WISH = Wish("tester", force=True)
SCRIPT = """#!/bin/sh
cd "$(dirname "$0")"
test "$1" = reload || exit 0
test -e breaks && . ./breaks
test -p gate && echo here >at && cat gate
exit 0
"""


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Agent, Agent]:
    """Reloading their service ends when somebody opens the gate, if there is one."""
    fw1, fw2 = rooted_pair(tmp_path)
    for agent in (fw1, fw2):
        script = agent.root / "act"
        script.write_text(SCRIPT)
        script.chmod(0o755)
        agent.configuration.services = CommandServices([str(script), "{action}"])
        agent.sections["web"] = replace(agent.sections["web"], services=(Service("webd"),))
        conf(agent).write_text(f"of {agent.name}\n")
    return fw1, fw2


def conf(agent: Agent) -> Path:
    return agent.root / "etc/web/a.conf"


def live(fw1: Agent, fw2: Agent, scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with serving(fw1), serving(fw2):
            await scenario()
            for agent in (fw1, fw2):
                await agent.configuration.settled()

    asyncio.run(run())


async def last(steps: AsyncIterator[Event]) -> str:
    """The outcome, and why."""
    ends = [event async for event in steps if event["step"] == "end"]
    return f"{ends[-1]['outcome']}: {ends[-1].get('error', '')}"


def again_of(agent: Agent) -> Agent:
    """One that is started in the same place."""
    made = Agent(
        agent.config,
        config_dir=agent.config_dir,
        run_dir=agent.run_dir,
        state_dir=agent.state_dir,
        root=agent.root,
    )
    made.configuration.services = agent.configuration.services
    return made


async def about_itself(agent: Agent) -> dict[str, Any]:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(asked_by(build(agent), None)), base_url="http://agent"
    ) as client:
        return dict((await client.get("/v1/about")).json())


async def gated(agent: Agent, work: Awaitable[str], meanwhile: Awaitable[None]) -> str:
    """What comes of this work, with something else in the middle of its reload."""
    gate, at = agent.root / "gate", agent.root / "at"
    os.mkfifo(gate)
    task = asyncio.ensure_future(work)
    try:
        await until(lambda: at.exists() or task.done(), "it reloads")
        await meanwhile
    finally:
        if at.exists():
            await asyncio.to_thread(gate.write_text, "")
            at.unlink()
        gate.unlink()
    return await task


def test_one_change_at_a_time(pair: tuple[Agent, Agent]) -> None:
    fw1, fw2 = pair

    def sync(agent: Agent) -> Awaitable[str]:
        return last(agent.configuration.sync(["web"], [], WISH))

    def back(agent: Agent, revision: str = "HEAD~1") -> Awaitable[str]:
        return last(agent.configuration.rollback(revision, ["web"], by="somebody").follow())

    async def beside_a_sync() -> None:
        told = "already at it: sync of web of tester on fw1"
        assert told in await back(fw2, "HEAD")
        with pytest.raises(Refused, match="already at it: tester on fw1 since"):
            await last(fw2.configuration.pull(["web"], "fw1", WISH))
        with pytest.raises(Refused, match="already at it: tester since"):
            await sync(fw1)  # two of one node: one is told so once, not by each peer

    async def beside_a_rollback() -> None:
        told = "already at it: rollback to HEAD~1 of somebody"
        assert told in await sync(fw1)
        assert told in await back(fw2)
        with pytest.raises(Refused, match=told):
            await sync(fw2)

    async def scenario() -> None:
        assert await gated(fw2, sync(fw1), beside_a_sync()) == "applied: "
        assert conf(fw2).read_text() == "of fw1\n"
        await fw2.configuration.settled()
        assert await gated(fw2, back(fw2), beside_a_rollback()) == "applied: "
        assert conf(fw2).read_text() == "of fw2\n"
        assert await sync(fw1) == "applied: "

    live(fw1, fw2, scenario)


def test_what_cannot_be_put_back_waits_until_it_can(pair: tuple[Agent, Agent]) -> None:
    fw1, fw2 = pair
    (fw2.root / "breaks").write_text(f"rm {conf(fw2)} && mkdir -p {conf(fw2)}/x; exit 1")

    async def scenario() -> None:
        ended = await last(fw1.configuration.sync(["web"], [], WISH))
        assert "reload webd" in ended and "; and it could not be put back: " in ended
        assert "/etc/web/a.conf" in ended and "put back as it was" not in ended
        told = await last(fw1.configuration.sync(["web"], [], WISH))
        assert "the last change could not be put back here: not all is as it was" in told
        assert "/etc/web/a.conf" in (await about_itself(fw2))["stuck"]
        await check_again(again_of(fw2))

    async def check_again(fw2: Agent) -> None:
        """With an agent that is started now."""
        await fw2.configuration.recover()
        assert "/etc/web/a.conf" in fw2.configuration.stuck
        with pytest.raises(Refused, match="could not be put back here"):
            await last(fw2.configuration.sync(["web"], [], WISH))
        (fw2.root / "breaks").unlink()
        done = await fw2.configuration.on_peers([], "take-back")
        assert "a.conf" in str(done["fw2"]["error"]) and "rollback --pending" in str(done["fw2"])
        (conf(fw2) / "x").rmdir()
        conf(fw2).rmdir()
        done = await fw2.configuration.on_peers([], "take-back")
        assert done["fw2"] == {"done": "sync of web of tester on fw1"}
        assert conf(fw2).read_text() == "of fw2\n"
        assert fw2.configuration.stuck == ""
        await fw2.close()

    live(fw1, fw2, scenario)


def rows(agent: Agent) -> list[dict[str, object]]:
    """What the history of results says, but when and how long."""
    keys = ("peer", "outcome", "by", "reason", "error")
    found = agent.configuration.results.read()
    return [{key: row[key] for key in keys if key in row} for row in found]


def test_the_last_word_of_the_results_is_what_became_of_it(pair: tuple[Agent, Agent]) -> None:
    fw1, fw2 = pair
    what = {"peer": "fw2", "by": "tester", "reason": "why"}
    waited = {**what, "outcome": "waiting"}

    def sync(within_s: float) -> Awaitable[str]:
        wish = replace(WISH, reason="why", confirm_within_s=within_s)
        return last(fw1.configuration.sync(["web"], [], wish))

    async def scenario() -> None:
        assert await sync(0.1) == "waiting: "
        await until(lambda: len(rows(fw1)) == 2, "nobody confirmed")
        lapsed = {**what, "outcome": "put back (nobody confirmed)"}
        assert rows(fw1) == [waited, lapsed]
        assert await sync(60) == "waiting: "
        await fw1.configuration.on_peers([], "take-back")
        assert rows(fw1)[2:] == [waited, {**what, "outcome": "put back"}]
        assert await sync(60) == "waiting: "
        await fw1.configuration.on_peers([], "confirm")
        assert rows(fw1)[4:] == [waited, {**what, "outcome": "confirmed"}]
        sections = [row["sections"] for row in fw1.configuration.results.read()]
        assert sections[0] == sections[1] == sections[3] == sections[5]
        conf(fw1).write_text("newer\n")
        assert await sync(60) == "waiting: "
        assert await fw2.configuration.confirm() == "sync of web"  # over there
        (row,) = fw1.configuration.results.read()[-1:]
        fw1.configuration.lapses.stop()
        fw1.configuration.lapses.follow({**row, "within_s": 0})
        await until(lambda: len(rows(fw1)) == 8, "it asks what became of it")
        assert rows(fw1)[7:] == [{**what, "outcome": "confirmed"}]

    live(fw1, fw2, scenario)


@pytest.mark.parametrize("waits", [False, True])
def test_what_could_not_be_kept_does_not_count(pair: tuple[Agent, Agent], *, waits: bool) -> None:
    """The journal cannot be removed, and that is the moment from which on it is kept."""
    fw1, fw2 = pair
    journal = fw2.state_dir / "sync/transaction/journal.json"
    wish = replace(WISH, confirm_within_s=60 if waits else None)
    spoil = f"rm {journal}; mkdir {journal}"
    (fw2.root / "breaks").write_text("" if waits else spoil)

    async def scenario() -> None:
        ended = await last(fw1.configuration.sync(["web"], [], wish))
        if waits:
            assert ended == "waiting: "
            journal.unlink()
            journal.mkdir()
            with pytest.raises(Stuck) as caught:
                await fw2.configuration.confirm()
            ended = caught.value.message
        assert f"cannot clear away {journal.parent}: Is a directory; and it could not" in ended
        noted = json.loads((fw2.state_dir / "sync/outcome.json").read_text())
        assert not noted["agreed"] and noted["end"] is None, "neither kept nor over"
        assert not fw2.configuration.record.read()
        again = again_of(fw2)
        await again.configuration.recover()
        assert not again.configuration.record.read()
        await again.close()

    live(fw1, fw2, scenario)


def test_a_bug_leaves_no_half_change(pair: tuple[Agent, Agent]) -> None:
    fw1, fw2 = pair

    class Buggy(CommandServices):
        async def act(self, name: str, action: Action, timeout_s: float = 1.0) -> None:
            raise AssertionError("a bug of ours")

    fw2.configuration.services = Buggy([str(fw2.root / "act"), "{action}"])

    async def scenario() -> None:
        ended = await last(fw1.configuration.sync(["web"], [], WISH))
        assert "a bug of ours" in ended
        assert conf(fw2).read_text() == "of fw2\n"
        fw2.configuration.services = fw1.configuration.services
        assert await last(fw1.configuration.sync(["web"], [], WISH)) == "applied: "

    live(fw1, fw2, scenario)


def test_what_nobody_confirmed_does_not_hinder_the_next_one(pair: tuple[Agent, Agent]) -> None:
    fw1, fw2 = pair
    waits = replace(WISH, confirm_within_s=60)
    unconfirmed = fw1.configuration.unconfirmed

    async def scenario() -> None:
        assert await last(fw1.configuration.sync(["web"], [], waits)) == "waiting: "
        assert unconfirmed.agreed.keys() == {"web"}
        client = fw1.peers["fw2"]
        with pytest.raises(PeerError, match="waits to be confirmed"):
            await client.get("/v1/peer/group")  # so that nobody settles what it may put back
        await fw2.configuration.take_back()  # as when its time is up: nobody tells the sender
        assert (await client.get("/v1/peer/group"))["changing"] is False
        assert await last(fw1.configuration.sync(["web"], [], WISH)) == "applied: "
        assert not unconfirmed.agreed
        conf(fw1).write_text("newer\n")
        assert await last(fw1.configuration.sync(["web"], [], waits)) == "waiting: "
        assert (await unconfirmed.on_peers([], "take-back"))["fw2"].keys() == {"undone"}
        assert not unconfirmed.agreed
        done = await fw1.configuration.on_peers([], "confirm")
        assert done["fw2"]["waited"] is False

    live(fw1, fw2, scenario)


def test_what_speaks_against_it_over_there_hinders_it_without_force(
    pair: tuple[Agent, Agent],
) -> None:
    fw1, fw2 = pair
    sender, gently = fw1.configuration.sender, replace(WISH, force=False)

    def sync(wish: Wish) -> Awaitable[str]:
        return last(sender.sync(sender.chosen(["web"]), fw1.peers["fw2"], wish))

    async def scenario() -> None:
        conf(fw1).write_text(f"listen {fw1.peers['fw2'].door.source}:80\n")
        with pytest.raises(Refused, match=r"it would break fw2: /etc/web/a\.conf:1"):
            await sync(gently)
        conf(fw1).write_text("of fw1\n")
        async with failover(fw2, {"lan": "MASTER"}):
            with pytest.raises(PeerError, match="this node is MASTER: a backup must not overwrite"):
                await sync(gently)
        assert conf(fw2).read_text() == "of fw2\n"
        async with failover(fw2, {"lan": "MASTER"}):
            assert await sync(WISH) == "applied: "
        conf(fw1).write_text("newer\n")
        async with failover(fw2, {"lan": "BACKUP"}):
            assert await sync(gently) == "applied: "

    live(fw1, fw2, scenario)


def test_who_puts_a_change_back_is_told_what_does_not_work_after_it(
    pair: tuple[Agent, Agent],
) -> None:
    fw1, fw2 = pair

    async def scenario() -> None:
        waits = replace(WISH, confirm_within_s=600)
        assert await last(fw1.configuration.sync(["web"], [], waits)) == "waiting: "
        (fw2.root / "breaks").write_text("echo no licence; exit 1")
        done = await fw1.configuration.on_peers([], "take-back")
        told = str(done["fw2"]["undone"])
        assert told.startswith("sync of web, but: reload webd: ") and "no licence" in told
        assert conf(fw2).read_text() == "of fw2\n"

    live(fw1, fw2, scenario)


def test_a_second_agent_leaves_alone_what_the_first_is_at(pair: tuple[Agent, Agent]) -> None:
    fw1, fw2 = pair
    waits = replace(WISH, confirm_within_s=600)

    async def scenario() -> None:
        assert await last(fw1.configuration.sync(["web"], [], waits)) == "waiting: "
        arriving = fw2.state_dir / "sync/stages/0/arriving"
        arriving.parent.mkdir()
        arriving.touch()
        with pytest.raises(KernelError, match="another process listens on"):
            await serve(again_of(fw2))
        assert conf(fw2).read_text() == "of fw1\n" and arriving.exists()
        assert await fw2.configuration.confirm() == "sync of web"

    live(fw1, fw2, scenario)


@asynccontextmanager
async def telling(path: Path, status: Callable[[], dict[str, object]]) -> AsyncIterator[None]:
    """A process whose status is this."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(json.dumps({"ok": True, **status()}).encode() + b"\n")
        writer.close()

    server = await asyncio.start_unix_server(answer, path)
    async with server:
        yield


def test_a_master_takes_nothing_from_a_peer_but_by_force(pair: tuple[Agent, Agent]) -> None:
    """Not even from one that is MASTER as well."""
    fw1, fw2 = pair

    def master() -> dict[str, object]:
        return {"vhosts": [{"vhid": 51, "interface": "lan", "state": "MASTER"}]}

    async def scenario() -> None:
        one, other = (telling(node.run_dir / "failover.sock", master) for node in pair)
        async with one, other:
            why = await last(fw1.configuration.sync(["web"], [], Wish("tester")))
            assert "fw2: this node is MASTER: a backup must not overwrite the master" in why
            assert conf(fw2).read_text() == "of fw2\n"
            assert await last(fw1.configuration.sync(["web"], [], WISH)) == "applied: "

    live(fw1, fw2, scenario)


def test_a_change_that_moves_a_vip_or_ends_replication_is_put_back(
    pair: tuple[Agent, Agent],
) -> None:
    fw1, fw2 = pair

    def is_new() -> bool:
        return conf(fw2).read_text() == "of fw1\n"

    def failover() -> dict[str, object]:
        state = "MASTER" if is_new() else "BACKUP"
        return {"vhosts": [{"vhid": 51, "interface": "lan", "state": state}]}

    def states() -> dict[str, object]:
        return {"peers": [{"name": "fw1", "connected": not is_new()}]}

    async def scenario() -> None:
        sockets = telling(fw2.run_dir / "failover.sock", failover)
        async with sockets, telling(fw2.run_dir / "states.sock", states):
            why = await last(fw1.configuration.sync(["web"], [], WISH))
        assert "after the change: 51@lan was BACKUP, is MASTER" in why
        assert "fw1 was up, is down" in why
        assert why.endswith("everything is put back as it was")
        assert conf(fw2).read_text() == "of fw2\n"

    live(fw1, fw2, scenario)


def test_who_only_looks_is_shown_what_differs_while_a_change_waits(
    pair: tuple[Agent, Agent],
) -> None:
    fw1, fw2 = pair

    async def scenario() -> None:
        waits = replace(WISH, confirm_within_s=60)
        assert await last(fw1.configuration.sync(["web"], [], waits)) == "waiting: "
        conf(fw1).write_text("newer\n")
        for _ in range(2):  # looking leaves nothing in the way
            found: Any = (await fw1.configuration.diff(["web"], [], WISH))["fw2"]
            assert "-of fw1\n+newer" in found["sections"][0]["files"][0]["text"]
            assert found["waiting"]["what"] == "sync of web" and found["warnings"] == []
            assert 0 < found["waiting"]["left_s"] <= 60 and found["waiting"]["until"].endswith("Z")
            assert "error" not in str(await fw1.configuration.drift())
            assert fw1.configuration.sender.waits_on["fw2"]["by"] == "tester on fw1"
        assert "waits to be confirmed" in await last(fw1.configuration.sync(["web"], [], WISH))
        with pytest.raises(PeerError, match="to look at it only"):
            await applied_though_offered_to_look_at(fw1)
        assert conf(fw2).read_text() == "of fw1\n", "it waits still"
        assert "undone" in (await fw1.configuration.on_peers([], "take-back"))["fw2"]
        assert conf(fw2).read_text() == "of fw2\n"
        found = (await fw1.configuration.diff(["web"], [], WISH))["fw2"]
        assert found["waiting"] is None and not list((fw2.state_dir / "sync/stages").iterdir())
        await fw1.configuration.drift()
        assert not fw1.configuration.sender.waits_on

    live(fw1, fw2, scenario)


async def applied_though_offered_to_look_at(fw1: Agent) -> None:
    offer = {"by": "tester", "sections": {"web": []}, "looking": True}
    client = fw1.peers["fw2"]
    number = (await client.post("/v1/peer/sync", offer))["number"]
    try:
        async for _line in client.stream("POST", f"/v1/peer/sync/{number}/apply", {"force": True}):
            pass
    finally:
        await client.post(f"/v1/peer/sync/{number}/abandon", {})
