"""A schedule that two agents keep, with a failover socket that says who is master."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from carpool.agent.agent import Agent
from carpool.agent.schedule import ScheduleKeeper
from carpool.agent.send import Wish
from carpool.agent.services import CommandServices
from carpool.cli import drift
from carpool.errors import CarpoolError
from carpool.kernel import clock, zone
from carpool.machine.schedule import CUT_OFF, LATE_MAX_S, SETTLE_S, Memory, State
from carpool.model.section import Service
from tests.unit.agent.home import rooted_pair, serving, until

EACH_SECOND = "*:*:*"
MASTER = {"lan": "MASTER", "wan": "MASTER", "dmz": "INIT"}  # a link without a cable does not count


@asynccontextmanager
async def failover(agent: Agent, roles: dict[str, str]) -> AsyncIterator[None]:
    """What the process tells whoever asks; `roles` may change meanwhile."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        vhosts = [{"vhid": 1, "interface": name, "state": role} for name, role in roles.items()]
        writer.write(json.dumps({"ok": True, "vhosts": vhosts}).encode() + b"\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(answer, agent.run_dir / "failover.sock")
    async with server:
        yield


@asynccontextmanager
async def keeping(agent: Agent) -> AsyncIterator[None]:
    task = asyncio.create_task(agent.keep_schedule())
    try:
        yield
    finally:
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(ended, asyncio.CancelledError), ended


def told(agent: Agent) -> tuple[State, str]:
    assert agent.schedule is not None
    found = agent.schedule.told()
    return State(str(found["state"])), str(found["why"])


def kept(agent: Agent) -> dict[str, object]:
    found: dict[str, object] = json.loads(file_of(agent).read_text())
    return found


def file_of(agent: Agent) -> Path:
    return agent.state_dir / "sync" / "schedule.json"


def web(agent: Agent) -> Path:
    return agent.root / "etc/web/a"


def live(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_it_brings_everything_to_the_peer_and_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fw1, fw2 = rooted_pair(tmp_path, EACH_SECOND)
    web(fw1).write_text("good 1\n")

    async def scenario() -> None:
        async with failover(fw1, MASTER), serving(fw2), serving(fw1), keeping(fw1), keeping(fw2):
            await until(lambda: told(fw1)[0] is State.OK, "a run that succeeded")
            assert web(fw2).read_text() == "good 1\n"
            web(fw1).write_text("good 2\n")
            await until(lambda: web(fw2).read_text() == "good 2\n", "the next run")
            await until(lambda: kept(fw1)["state"] == "ok", "what is remembered")
            revisions = (await fw2.configuration.settled()).log(20, None)
            assert {(one.author, one.reason) for one in revisions if one.kind == "received"} == {
                ("schedule@fw1", "scheduled")
            }
            assert told(fw2)[0] is State.NONE, "a node that is no primary does nothing"

    live(scenario)
    assert "agent: sync of schedule: done" in capfd.readouterr().err


def test_a_failure_is_told_until_a_run_succeeds(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fw1, fw2 = rooted_pair(tmp_path, EACH_SECOND)
    web(fw1).write_text("good 1\n")

    async def scenario() -> None:
        async with failover(fw1, MASTER):
            async with keeping(fw1):
                await until(lambda: told(fw1)[0] is State.FAILED, "a run without a peer")
                assert "fw2" in told(fw1)[1]
                await until(lambda: kept(fw1)["state"] == "failed", "what is remembered")
                async with serving(fw2):
                    await until(lambda: told(fw1)[0] is State.OK, "a run with it")
                    web(fw2).write_text("in an emergency\n")
                    await until(lambda: told(fw1)[0] is State.FAILED, "a guard that speaks")
                    assert "web: changed on fw2 itself since it was synchr" in told(fw1)[1]
            assert web(fw2).read_text() == "in an emergency\n"

    live(scenario)
    assert "scheduled sync failed: " in capfd.readouterr().err


@pytest.mark.parametrize("other", [{"schedule_jitter_s": 0.5}, {"schedule": "*-*-* 02:30"}])
@pytest.mark.parametrize("fails", [False, True])
def test_another_schedule_lets_a_run_come_to_its_end(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], other: dict[str, Any], *, fails: bool
) -> None:
    fw1, fw2 = rooted_pair(tmp_path, EACH_SECOND)
    web(fw1).write_text("good\n")
    script, gate, at = (fw2.root / name for name in ("act", "gate", "at"))
    script.write_text(f"#!/bin/sh\ntest $1 = reload || exit 0\necho >{at}\nexit $(cat {gate})\n")
    script.chmod(0o755)
    os.mkfifo(gate)
    fw2.configuration.services = CommandServices([str(script), "{action}"])
    fw2.sections["web"] = replace(fw2.sections["web"], services=(Service("webd"),))
    sync = fw1.config.group.sync
    assert sync is not None
    config = replace(fw1.config, group=replace(fw1.config.group, sync=replace(sync, **other)))

    async def scenario() -> None:
        async with failover(fw1, MASTER), serving(fw2), serving(fw1), keeping(fw1):
            await until(at.exists, "a run in its midst")
            await fw1.go_by(config, dict(fw1.sections))
            assert fw1.schedule is not None and fw1.schedule.told()["running"]
            before = fw1.schedule
            if fails:
                script.write_text("#!/bin/sh\nexit 0\n")  # while it is put back, and later
            await asyncio.to_thread(gate.write_text, "1" if fails else "0")
            await until(lambda: fw1.schedule is not before, "the other schedule counts")
            found = before.told()
            assert found["state"] == ("failed" if fails else "ok")
            assert fails == ("reload webd" in str(found["why"])) and not found["running"]
            assert fw1.schedule.told()["run_unix_s"] == found["run_unix_s"]
            if fails and "schedule" in other:
                assert told(fw1) == (State.FAILED, found["why"])
            assert fw1.schedule.timing != before.timing

    live(scenario)
    said = capfd.readouterr().err
    assert CUT_OFF not in said and ("scheduled sync failed" in said) == fails


def test_who_is_at_it_is_not_disturbed(tmp_path: Path) -> None:
    fw1, _fw2 = rooted_pair(tmp_path, EACH_SECOND)

    async def scenario() -> None:
        async with failover(fw1, MASTER), keeping(fw1):
            with fw1.configuration.sender.at_it("somebody"):
                await until(lambda: told(fw1)[0] is State.FAILED, "a run that is refused")
                assert "already at it: somebody since" in told(fw1)[1]
        await fw1.close()

    live(scenario)


@pytest.mark.parametrize(
    ("roles", "state", "why"),
    [
        ({"lan": "BACKUP", "wan": "BACKUP"}, State.STANDBY, ""),
        ({"lan": "MASTER", "wan": "BACKUP"}, State.MISSED, "not MASTER of 1@wan"),
        (None, State.STANDBY, ""),
    ],
)
def test_a_node_that_is_no_primary_changes_nothing(
    tmp_path: Path, roles: dict[str, str] | None, state: State, why: str
) -> None:
    fw1, fw2 = rooted_pair(tmp_path, EACH_SECOND)
    web(fw1).write_text("good 1\n")
    fw1.now_s = lambda: clock.monotonic_s() + SETTLE_S  # it runs long enough to be what it is

    async def scenario() -> None:
        asked = nullcontext() if roles is None else failover(fw1, roles)
        async with asked, serving(fw2), keeping(fw1):
            await until(lambda: told(fw1) == (state, why), "what became of it")
        await fw1.close()

    live(scenario)
    assert not web(fw2).exists()


def remembered(agent: Agent, expression: str, **more: object) -> None:
    """As an agent before this one left it, a day ago."""
    memory = Memory(expression, clock.wall_us() / 1e6 - 86400)
    file_of(agent).parent.mkdir(parents=True, exist_ok=True)
    file_of(agent).write_text(json.dumps({**asdict(memory), **more}))


def anew(agent: Agent) -> None:
    agent.schedule = ScheduleKeeper.of(agent)


def some_hours_ago() -> str:
    at = zone.civil(clock.wall_us() / 1e6 - 7200)
    return f"{at.hour:02}:{at.minute:02}"


def test_what_was_due_while_no_agent_ran_was_missed_until_somebody_does_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    expression = some_hours_ago()
    fw1, fw2 = rooted_pair(tmp_path, expression)
    web(fw1).write_text("good 1\n")
    remembered(fw1, expression)
    anew(fw1)

    async def scenario() -> None:
        async with failover(fw1, MASTER), serving(fw2), keeping(fw1):
            await until(lambda: told(fw1)[0] is State.MISSED, "that it was missed")
            await until(lambda: kept(fw1)["state"] == "missed", "what is remembered")
            assert fw1.schedule is not None
            ago_s = fw1.schedule.told()["ago_s"]
            assert isinstance(ago_s, float) and LATE_MAX_S < ago_s < 7300
            assert not web(fw2).exists(), "it is not made up for"
            async for _step in fw1.configuration.sync((), (), Wish("tester", confirm_within_s=60)):
                pass
            assert told(fw1)[0] is State.MISSED, "nobody has confirmed it"
            await fw1.configuration.on_peers((), "confirm")
            async for _step in fw1.configuration.sync((), (), Wish("tester")):
                pass
            assert told(fw1) == (State.OK, "")

    live(scenario)
    assert "scheduled sync missed: no agent ran" in capfd.readouterr().err


def test_a_run_that_the_agent_did_not_survive_has_failed(tmp_path: Path) -> None:
    expression = some_hours_ago()
    fw1, _fw2 = rooted_pair(tmp_path, expression)
    remembered(fw1, expression, running=True, until_s=clock.wall_us() / 1e6 - 60)
    anew(fw1)
    assert told(fw1) == (State.FAILED, CUT_OFF)


@pytest.mark.parametrize(
    "content",
    [
        *("", "{}", "[]", "null", "{", '{"schedule": 1}', "\xff"),
        *(
            json.dumps({**asdict(Memory(EACH_SECOND, 0.0)), "state": "failed", **wrong})
            for wrong in ({"until_s": float("nan")}, {"until_s": 1e300}, {"since_s": "x"})
        ),
        json.dumps({**asdict(Memory(EACH_SECOND, 0.0)), "state": "strange"}),
    ],
)
def test_a_damaged_file_says_nothing(tmp_path: Path, content: str) -> None:
    fw1, _fw2 = rooted_pair(tmp_path, EACH_SECOND)
    file_of(fw1).parent.mkdir(parents=True)
    file_of(fw1).write_bytes(content.encode("latin-1"))
    anew(fw1)
    assert told(fw1) == (State.NONE, "")


def test_without_a_schedule_nothing_is_remembered(tmp_path: Path) -> None:
    fw1, _fw2 = rooted_pair(tmp_path, "daily")
    remembered(fw1, "daily")
    sync = fw1.config.group.sync
    assert sync is not None
    group = replace(fw1.config.group, sync=replace(sync, schedule=""))
    fw1.config = replace(fw1.config, group=group)
    anew(fw1)
    assert fw1.schedule is None and not file_of(fw1).exists()


def test_a_disk_that_takes_nothing_hinders_no_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fw1, fw2 = rooted_pair(tmp_path, EACH_SECOND)
    web(fw1).write_text("good 1\n")
    file_of(fw1).mkdir(parents=True)

    async def scenario() -> None:
        async with failover(fw1, MASTER), serving(fw2), keeping(fw1):
            await until(lambda: told(fw1)[0] is State.OK, "a run that succeeded")
        await fw1.close()

    live(scenario)
    assert web(fw2).read_text() == "good 1\n"
    assert "schedule.json: Is a directory" in capfd.readouterr().err


def test_an_agent_that_has_not_read_the_schedule_yet_keeps_none(tmp_path: Path) -> None:
    fw1, fw2 = rooted_pair(tmp_path)
    sync = fw1.config.group.sync
    assert sync is not None
    group = replace(fw1.config.group, sync=replace(sync, schedule="daily"))
    config = replace(fw1.config, group=group)

    async def scenario() -> None:
        async with serving(fw1):
            assert await asyncio.to_thread(drift.schedule, fw1.run_dir, fw1.config) is None
            found = await asyncio.to_thread(drift.schedule, fw1.run_dir, config)
            assert isinstance(found, CarpoolError) and "reads the files" in found.message
        found = await asyncio.to_thread(drift.schedule, fw2.run_dir, config)
        assert isinstance(found, CarpoolError) and "does not run" in found.message

    live(scenario)
