"""The keeper of roles with a failover socket and an init script that are real."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from carpool.agent.roles import RoleKeeper
from carpool.agent.services import CommandServices
from carpool.kernel.clock import monotonic_s
from carpool.machine.roles import Waits
from tests.unit.agent.home import until

SCRIPT = """#!/bin/sh
cd "$(dirname "$0")"
test "$2" = status && { test -e "$1.runs" || exit 3; exit 0; }
echo "$2 $1" >>log
test ! -e "$1.$2" || . "./$1.$2"
case "$2" in start) touch "$1.runs" ;; stop) rm -f "$1.runs" ;; esac
"""


SHORT = Waits(settle_s=0.1, lost_s=0.5, again_s=0.3)


class Failover:
    """Its control socket, as far as `watch` goes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.master = False
        self._watchers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert json.loads(await reader.readline()) == {"command": "watch"}
        self._watchers.append(writer)
        self._tell(writer)

    def say(self, master: bool) -> None:
        self.master = master
        for writer in self._watchers:
            self._tell(writer)

    def _tell(self, writer: asyncio.StreamWriter) -> None:
        writer.write(json.dumps({"ok": True, "master": self.master}).encode() + b"\n")

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

    def running(self) -> list[str]:
        """Which services have done what they were told; the log says what they were told."""
        return sorted(path.stem for path in self.directory.glob("*.runs"))

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        keeper = RoleKeeper(
            self.failover.path, self.services, lambda: ["vpn", "radvd"], monotonic_s, SHORT
        )
        task = asyncio.create_task(keeper.run())
        try:
            yield
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
        node.failover.master = True
        async with node.kept():
            await until(lambda: node.running() == ["radvd", "vpn"], "they start")
            node.failover.say(False)
            await until(lambda: node.running() == [], "they stop")
            assert sorted(node.log()[2:]) == ["stop radvd", "stop vpn"]
            node.failover.say(True)
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
            node.failover.master = True
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
        node.failover.master = True
        async with node.kept():
            await until((node.directory / "radvd.runs").exists, "one starts")
            await until((node.directory / "vpn.runs").exists, "the other one hangs")
            node.failover.say(False)
            await until(lambda: len(node.log()) == 4, "both stop")

    asyncio.run(days())
    assert sorted(node.log()[2:]) == ["stop radvd", "stop vpn"]


def test_what_failed_is_told_and_tried_again(node: Node, capfd: pytest.CaptureFixture[str]) -> None:
    (node.directory / "vpn.start").write_text("echo no such key; rm vpn.start; exit 1\n")

    async def days() -> None:
        await node.failover.start()
        node.failover.master = True
        async with node.kept():
            await until(lambda: node.log().count("start vpn") == 2, "it is tried again")
            await until((node.directory / "vpn.runs").exists, "it runs")

    asyncio.run(days())
    assert node.log().count("start radvd") == 1  # that one runs: it is left alone
    told = capfd.readouterr().err
    assert "this node is MASTER, but start of vpn failed" in told and "no such key" in told
