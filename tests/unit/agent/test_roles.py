"""The keeper of roles with a failover socket, an init script and commands that are real."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from carpool.agent.roles import RoleKeeper
from carpool.agent.scriptrun import DirectRunner
from carpool.agent.services import CommandServices
from carpool.kernel.clock import monotonic_s
from carpool.machine.roles import Waits
from carpool.model.section import Service
from tests.unit.agent.home import until

SCRIPT = """#!/bin/sh
cd "$(dirname "$0")"
test "$2" = status && { echo >>looks; test -e "$1.runs" || exit 3; exit 0; }
echo "$2 $1" >>log
test ! -e "$1.$2" || . "./$1.$2"
case "$2" in start) touch "$1.runs" ;; stop) rm -f "$1.runs" ;; esac
"""


SHORT = Waits(settle_s=0.1, lost_s=0.5, again_s=0.3)
LAN, WAN = "51@lan", "52@wan"
ALONE = (Service("vpn"), Service("radvd"))


class Failover:
    """Its control socket, as far as `watch` goes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.masters: tuple[str, ...] = ()
        self._watchers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert json.loads(await reader.readline()) == {"command": "watch"}
        self._watchers.append(writer)
        self._tell(writer)

    def say(self, *masters: str) -> None:
        """The VIPs that this node is MASTER of."""
        self.masters = masters
        for writer in self._watchers:
            self._tell(writer)

    def _tell(self, writer: asyncio.StreamWriter) -> None:
        told = {"ok": True, "master": bool(self.masters), "masters": self.masters}
        writer.write(json.dumps(told).encode() + b"\n")

    async def end(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._watchers:
            writer.close()
        self._watchers.clear()
        self.path.unlink(missing_ok=True)


class Node:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.failover = Failover(directory / "failover.sock")
        script = directory / "act"
        script.write_text(SCRIPT)
        script.chmod(0o755)
        self.services = CommandServices([str(script), "{service}", "{action}"])

    def log(self) -> list[str]:
        file = self.directory / "log"
        return file.read_text().splitlines() if file.exists() else []

    def looks(self) -> list[str]:
        return self.did("looks")

    def running(self) -> list[str]:
        """Which services have done what they were told; the log says what they were told."""
        return sorted(path.stem for path in self.directory.glob("*.runs"))

    def did(self, name: str) -> list[str]:
        """What commands have written."""
        file = self.directory / name
        return file.read_text().splitlines() if file.exists() else []

    def switched(self, name: str, **more: Any) -> Service:
        """A service whose commands write the role into a file of its name, and touch it."""
        to = self.directory / name
        commands = [("sh", "-c", f"echo {role} >>{to}") for role in ("master", "backup")]
        return Service(name, on_master=commands[0], on_backup=commands[1], **more)

    @asynccontextmanager
    async def kept(
        self, *duties: Service, look_s: float = SHORT.look_s
    ) -> AsyncIterator[RoleKeeper]:
        keeper = RoleKeeper(
            self.failover.path,
            self.services,
            DirectRunner(monotonic_s),
            lambda: duties or ALONE,
            monotonic_s,
            replace(SHORT, look_s=look_s),
        )
        task = asyncio.create_task(keeper.run())
        try:
            yield keeper
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.failover.end()


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_services_follow_the_role_and_stay_when_the_agent_ends(
    node: Node, capfd: pytest.CaptureFixture[str]
) -> None:
    async def days() -> None:
        await node.failover.start()
        node.failover.say(LAN)
        async with node.kept():
            await until(lambda: node.running() == ["radvd", "vpn"], "they start")
            node.failover.say()
            await until(lambda: node.running() == [], "they stop")
            assert sorted(node.log()[2:]) == ["stop radvd", "stop vpn"]
            node.failover.say(LAN)
            await until(lambda: node.running() == ["radvd", "vpn"], "they run again")

    asyncio.run(days())
    assert len(node.log()) == 6
    assert node.running() == ["radvd", "vpn"]
    told = capfd.readouterr().err
    assert "this node is MASTER: start vpn took" in told
    assert "this node is not MASTER: stop radvd took" in told


def test_a_failover_process_that_comes_late_and_goes_and_comes_again(node: Node) -> None:
    async def days() -> None:
        async with node.kept():
            node.failover.say(LAN)
            await node.failover.start()
            await until(lambda: len(node.log()) == 2, "they start")
            await node.failover.end()
            await until(lambda: len(node.log()) == 4, "it is gone: nobody says that we are MASTER")
            await node.failover.start()
            await until(lambda: len(node.log()) == 6, "they start again")

    asyncio.run(days())
    assert sorted(node.log()[2:4]) == ["stop radvd", "stop vpn"]
    assert sorted(node.log()[4:]) == ["start radvd", "start vpn"]


def test_a_start_that_hangs_holds_up_neither_the_others_nor_the_stop(node: Node) -> None:
    os.mkfifo(node.directory / "pipe")
    (node.directory / "vpn.start").write_text("touch vpn.runs; cat pipe\n")

    async def days() -> None:
        await node.failover.start()
        node.failover.say(LAN)
        async with node.kept():
            await until((node.directory / "radvd.runs").exists, "one starts")
            await until((node.directory / "vpn.runs").exists, "the other one hangs")
            node.failover.say()
            await until(lambda: len(node.log()) == 4, "both stop")

    asyncio.run(days())
    assert sorted(node.log()[2:]) == ["stop radvd", "stop vpn"]


def test_what_failed_is_told_and_tried_again(node: Node, capfd: pytest.CaptureFixture[str]) -> None:
    (node.directory / "vpn.start").write_text("echo no such key; rm vpn.start; exit 1\n")

    async def days() -> None:
        await node.failover.start()
        node.failover.say(LAN)
        async with node.kept():
            await until(lambda: node.log().count("start vpn") == 2, "it is tried again")
            await until((node.directory / "vpn.runs").exists, "it runs")

    asyncio.run(days())
    assert node.log().count("start radvd") == 1  # that one runs: it is left alone
    told = capfd.readouterr().err
    assert "this node is MASTER, but start of vpn failed" in told and "no such key" in told


def test_how_each_service_took_up_the_role_is_kept(node: Node) -> None:
    (node.directory / "vpn.start").write_text("exit 1\n")

    async def days() -> None:
        await node.failover.start()
        node.failover.say(LAN)
        async with node.kept() as keeper:
            await until(lambda: len(keeper.moves) == 2, "both were told to start")
            vpn, radvd = keeper.moves["vpn"], keeper.moves["radvd"]
            assert (radvd.master, radvd.did, radvd.error) == (True, "start", "")
            assert radvd.after_s is not None
            assert SHORT.settle_s <= radvd.after_s >= radvd.took_s >= 0
            assert radvd.at.endswith("Z")
            assert "start of vpn failed" in vpn.error

    asyncio.run(days())


def test_a_look_stops_what_begins_on_a_backup_and_leaves_what_ends_on_the_master(
    node: Node, capfd: pytest.CaptureFixture[str]
) -> None:
    async def days() -> None:
        await node.failover.start()
        async with node.kept(look_s=0.05):
            await until(lambda: len(node.looks()) > 2 * len(ALONE), "the role is taken up")
            (node.directory / "vpn.runs").touch()
            await until(lambda: node.running() == [], "it is stopped")
            node.failover.say(LAN)
            await until(lambda: node.running() == ["radvd", "vpn"], "they start")
            (node.directory / "vpn.runs").unlink()
            node.failover.say(LAN, WAN)  # is no other role
            seen = len(node.looks())
            await until(lambda: len(node.looks()) > seen + 4, "it is looked again")
            assert node.running() == ["radvd"]

    asyncio.run(days())
    assert node.log().count("start vpn") == 1
    assert "stop vpn took" in (told := capfd.readouterr().err)
    assert ", for something else had begun it" in told


def test_a_service_follows_the_vips_that_it_names(node: Node) -> None:
    duties = (Service("group"), Service("lan", follows="lan"), Service("wan", follows=WAN))

    async def days() -> None:
        await node.failover.start()
        async with node.kept(*duties):
            node.failover.say(LAN)
            await until(lambda: node.running() == ["group", "lan"], "they start")
            node.failover.say(LAN, WAN)
            await until(lambda: node.running() == ["group", "lan", "wan"], "the third one starts")
            node.failover.say(WAN)
            await until(lambda: node.running() == ["group", "wan"], "that of the lan stops")
            node.failover.say()
            await until(lambda: node.running() == [], "all stop")

    asyncio.run(days())
    assert node.log().count("start group") == 1


def test_a_service_is_switched_where_it_runs_and_is_never_started_or_stopped(node: Node) -> None:
    async def days() -> None:
        await node.failover.start()
        (node.directory / "ospf.runs").touch()
        async with node.kept(node.switched("ospf"), node.switched("off"), look_s=0.05) as keeper:
            await until(lambda: node.did("ospf") == ["backup"], "a boot may have left it as master")
            node.failover.say(LAN)
            await until(lambda: node.did("ospf") == ["backup", "master"], "it is switched")
            seen = len(node.looks())
            await until(lambda: len(node.looks()) > seen + 4, "it is looked again")
            assert len(node.did("ospf")) == 2  # it is what it should be
            keeper.heed("ospf")  # as who reloads it does
            await until(lambda: len(node.did("ospf")) == 3, "it is switched again")
            (node.directory / "off.runs").touch()
            await until(lambda: node.did("off") == ["master"], "it runs by now")

    asyncio.run(days())
    assert node.did("ospf") == ["backup", "master", "master"]
    assert node.log() == []


def test_a_switch_that_fails_or_hangs_is_told_and_tried_again(
    node: Node, capfd: pytest.CaptureFixture[str]
) -> None:
    (node.directory / "ospf.runs").touch()
    (node.directory / "wg.runs").touch()
    os.mkfifo(node.directory / "pipe")
    up = f"cd {node.directory}; echo >>tries; test -e ok || {{ echo no such area; exit 3; }}"
    duties = (
        Service("ospf", on_master=("sh", "-c", up), on_backup=("true",)),
        Service(
            "wg", on_master=("cat", f"{node.directory}/pipe"), on_backup=("true",), timeout_s=0.2
        ),
        Service("vpn"),
    )

    async def days() -> None:
        await node.failover.start()
        node.failover.say(LAN)
        async with node.kept(*duties) as keeper:
            await until(lambda: "vpn" in node.running(), "nobody waits for the one that hangs")
            await until(lambda: "wg" in keeper.moves and "ospf" in keeper.moves, "both have failed")
            assert "did not end in 0.2 s" in keeper.moves["wg"].error
            assert "no such area" in keeper.moves["ospf"].error
            (node.directory / "ok").touch()
            await until(lambda: keeper.moves["ospf"].error == "", "it is tried again")

    asyncio.run(days())
    told = capfd.readouterr().err
    assert "this node is MASTER, but switch of ospf failed" in told
    assert "exit status 3:\nno such area" in told
    assert "this node is MASTER: switch ospf took" in told
