"""An update of a node from its beginning to its end, with a program that speaks as apt does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from carpool.agent.agent import Agent
from carpool.agent.app import build
from carpool.agent.aptrun import SETTINGS, Apt, NoLauncher
from carpool.agent.scriptrun import DirectRunner
from carpool.agent.updates import MARK, Updates
from carpool.errors import CarpoolError
from carpool.kernel.clock import monotonic_s
from tests.unit.agent.home import agent_of, asked_by, pair_of, serving, until

APT = """#!/bin/sh
case "$*" in
*-s*) cat %(listing)s ;;
*update*) echo "Hit:1 https://mirror trial InRelease" ;;
*upgrade*) cat %(said)s; [ ! -e %(fails)s ] ;;
esac
"""
LISTING = "Inst trial [1] (2 Debian-Security:13/stable-security [all])\n"
KEEP = (
    "Setting up trial (2) ...\n\n"
    "Configuration file '/etc/trial.conf'\n ==> Modified (by you or by a script) since "
    "installation.\n ==> Keeping old config file as default.\n\x1b[2Jwhat steers\n"
)


class Machine:
    """That runs a program, and reboots when it is asked to: as far as one can tell."""

    reboots = 0

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    def check(self) -> None:
        """It can."""

    async def start(self, argv: Sequence[str]) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.DEVNULL, env=SETTINGS, start_new_session=True
        )

    async def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def reboot(self) -> None:
        self.reboots += 1


class Node:
    """An agent with its own apt, and a failover process that is as it is told to be."""

    def __init__(self, agent: Agent, state: str) -> None:
        self.agent, self.state = agent, state
        self.maintenance = False
        self.commands: list[object] = []
        home = agent.state_dir
        self.machine = Machine()
        files = {name: home / name for name in ("listing", "said", "fails")}
        files["listing"].write_text(LISTING)
        files["said"].write_text(KEEP)
        self.fails = files["fails"]
        self.program = home / "apt-get"
        self.program.write_text(APT % files)
        self.program.chmod(0o755)
        self.root = home
        self.begins_anew()

    def boots(self) -> None:
        """What is in its memory is gone."""
        (self.agent.run_dir / MARK).unlink()
        self.begins_anew()

    def begins_anew(self) -> None:
        """Its agent, with what is on the disk."""
        runner = DirectRunner(monotonic_s)
        apt = Apt(
            self.agent.state_dir / "update",
            self.machine,
            runner,
            lambda: 1e10,
            program=str(self.program),
        )
        apt.needs_reboot = lambda: self.reboot_needed  # type: ignore[method-assign]
        self.reboot_needed = ""
        self.agent.updates = Updates(self.agent, apt)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        server = await asyncio.start_unix_server(self._answer, self.agent.run_dir / "failover.sock")
        async with server, serving(self.agent):
            task = asyncio.create_task(self.agent.updates.run())
            try:
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = json.loads(await reader.readline())
        if request["command"] == "maintenance":
            self.commands.append(request)
            self.maintenance = request["on"]
        row = {"vhid": 51, "interface": "lan", "state": self.state}
        told: dict[str, object] = {"ok": True, "vhosts": [row], "maintenance": self.maintenance}
        writer.write(json.dumps(told).encode() + b"\n")
        writer.close()


@pytest.fixture
def nodes(tmp_path: Path) -> tuple[Node, Node]:
    first, second = pair_of(tmp_path)
    return Node(first, "MASTER"), Node(second, "BACKUP")


async def asked(node: Node, body: dict[str, object]) -> list[dict[str, Any]]:
    """The steps of an update, or its refusal."""
    app = asked_by(build(node.agent), None)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://agent") as client:
        path = "/v1/packages/update"
        answer = await client.request("POST", path, json={"by": "ann", **body}, timeout=30)
    return [json.loads(line) for line in answer.text.splitlines()]


def told(steps: Sequence[dict[str, Any]]) -> str:
    return "\n".join(str(one.get("text") or one.get("lines") or "") for one in steps)


def test_a_backup_is_updated_from_its_master_in_maintenance_mode(
    nodes: tuple[Node, Node],
) -> None:
    first, second = nodes

    async def update() -> tuple[list[dict[str, Any]], httpx.Response]:
        async with first.running(), second.running():
            steps = await asked(first, {"peer": "fw2"})
            app = asked_by(build(first.agent), None)
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://agent") as client:
                return steps, await client.get("/v1/packages?peer=fw2")

    steps, listing = asyncio.run(update())
    assert steps[-1] == {"step": "end", "peer": "fw2", "outcome": "updated"}, steps
    text = told(steps)
    assert "Hit:1 https://mirror" in text and "Setting up trial (2)" in text
    assert "kept /etc/trial.conf" in text and "\x1b" not in text
    assert "back and complete" in text and "out of maintenance mode" in text
    on, off = second.commands
    assert on == {
        "command": "maintenance",
        "on": True,
        "reason": "packages are updated by ann on fw1",
    }
    assert off == {"command": "maintenance", "on": False}
    assert first.commands == []
    found = listing.json()
    assert [(one["name"], one["security"]) for one in found["packages"]] == [("trial", True)]
    assert (found["node"], found["masters"], found["last"]["phase"]) == ("fw2", [], "ended")


def test_a_master_is_not_touched_and_nothing_is_begun(nodes: tuple[Node, Node]) -> None:
    first, second = nodes

    async def update() -> list[list[dict[str, Any]]]:
        async with first.running(), second.running():
            own = await asked(first, {})
            second.state = "MASTER"
            there = await asked(first, {"peer": "fw2"})
            second.state = first.state = "BACKUP"
            return [own, there, await asked(first, {"peer": "fw2"})]

    own, there, nobody = asyncio.run(update())
    assert "fw1 is MASTER of 51@lan" in own[0]["error"] and own[0]["hint"]
    assert "fw2 is MASTER of 51@lan" in there[0]["error"]
    assert "no other node is MASTER" in nobody[0]["error"]
    assert first.commands == second.commands == []
    assert not (second.agent.state_dir / "update").exists()


def test_a_failure_of_apt_is_told_in_its_words_and_maintenance_ends(
    nodes: tuple[Node, Node],
) -> None:
    first, second = nodes
    second.fails.touch()
    (second.root / "said").write_text("E: Failed to fetch https://mirror/x\n")
    second.maintenance = True  # by an operator: it stays

    async def update() -> list[dict[str, Any]]:
        async with first.running(), second.running():
            return await asked(first, {"peer": "fw2"})

    end = asyncio.run(update())[-1]
    assert end["outcome"] == "failed" and "Failed to fetch" in end["error"]
    assert "reach its mirror" in end["hint"]
    assert second.commands == [] and second.maintenance


def test_it_goes_on_in_the_next_agent_and_after_a_reboot(nodes: tuple[Node, Node]) -> None:
    first, second = nodes

    async def before() -> None:
        async with first.running(), second.running():
            second.reboot_needed = "a package asks for it"
            await second.agent.updates.begin("ann", install=True, reboot=True)
            await until(lambda: second.machine.reboots, "it reboots")
            with pytest.raises(CarpoolError, match="under way already"):
                await second.agent.updates.begin("bob", install=True, reboot=False)

    async def still() -> None:
        async with first.running(), second.running():
            (step,) = (await asyncio.to_thread(second.agent.updates.told, 0, 99),)
            assert step["phase"] == "rebooting"

    async def after() -> list[dict[str, Any]]:
        async with first.running(), second.running():
            return await asked(second, {"follow": True})

    asyncio.run(before())
    assert second.maintenance, "over the reboot"
    second.begins_anew()  # the agent alone: no second reboot
    asyncio.run(still())
    assert second.machine.reboots == 1 and second.maintenance
    second.boots()
    steps = asyncio.run(after())
    assert "has rebooted" in told(steps) and steps[-1]["outcome"] == "updated"
    assert not second.maintenance


def test_who_became_master_meanwhile_is_not_rebooted(nodes: tuple[Node, Node]) -> None:
    first, second = nodes

    async def update() -> None:
        async with first.running(), second.running():
            await second.agent.updates.begin("ann", install=False, reboot=True)
            second.state, first.state = "MASTER", "BACKUP"
            await until(lambda: second.agent.updates.told(0, 0)["error"], "it is refused")
            error = second.agent.updates.told(0, 0)["error"]
            assert "not rebooted: fw2 is MASTER of 51@lan" in str(error)

    asyncio.run(update())
    assert second.machine.reboots == 0


def test_who_cannot_be_reached_is_told_as_that(tmp_path: Path) -> None:
    first, _second = pair_of(tmp_path)
    node = Node(first, "BACKUP")

    async def ask() -> list[dict[str, Any]]:
        async with node.running():
            return await asked(node, {"peer": "fw2"})

    (refusal,) = asyncio.run(ask())
    assert "cannot connect to the agent of fw2" in refusal["error"] and refusal["hint"]
    with pytest.raises(CarpoolError):
        asyncio.run(node.agent.updates.begin("ann", install=True, reboot=False))


def test_a_node_of_a_lab_has_no_packages_and_reboots_nothing(tmp_path: Path) -> None:
    node = Node(agent_of(tmp_path), "BACKUP")
    node.agent.updates = Updates(
        node.agent, Apt(tmp_path, node.machine, DirectRunner(monotonic_s), float, root=tmp_path)
    )
    with pytest.raises(CarpoolError, match="no packages of its own"):
        asyncio.run(node.agent.updates.begin("ann", install=False, reboot=True))
    assert node.machine.reboots == 0 and node.commands == []


def test_without_systemd_nothing_is_begun(tmp_path: Path) -> None:
    """What is tried on such a machine (of a developer, say) leaves its packages alone."""
    agent = agent_of(tmp_path)
    apt = Apt(tmp_path / "update", NoLauncher(), DirectRunner(monotonic_s), lambda: 0.0)
    with pytest.raises(CarpoolError, match="without systemd") as told:
        asyncio.run(Updates(agent, apt).begin("ann", install=True, reboot=True))
    assert "apt-get upgrade" in told.value.hint
    assert not (tmp_path / "update").exists()


def test_what_is_written_by_another_version_counts_for_nothing(tmp_path: Path) -> None:
    agent = agent_of(tmp_path)
    (agent.state_dir / "update.json").write_text('{"number": 1, "before": {}}')
    assert Updates(agent, agent.updates.apt).told(0, 0)["number"] == ""
