"""`carpool update`: what is asked of the agent, and what is heard when that is restarted."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from carpool.cli.main import main
from tests.unit.agent.home import pair_of
from tests.unit.agent.test_updates import Node


def updated(tmp_path: Path, *words: str, master: str = "fw1") -> int:
    nodes = [Node(one, "MASTER" if one.name == master else "BACKUP") for one in pair_of(tmp_path)]

    async def run() -> int:
        async with nodes[0].running(), nodes[1].running():
            argv = ["--run-dir", str(nodes[0].agent.run_dir), "update", *words]
            return await asyncio.to_thread(main, argv)

    return asyncio.run(run())


def test_a_peer_is_updated_and_each_step_is_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert updated(tmp_path, "--peer", "fw2") == 0
    said = capfd.readouterr().out
    assert "Setting up trial (2) ..." in said and "fw2: out of maintenance mode" in said
    assert said.strip().endswith("fw2: updated")


def test_the_list_as_text_and_as_json(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert updated(tmp_path, "--list", "--refresh", "--peer", "fw2") == 0
    assert "fw2: 1 package could be updated, 1 of them for security" in capfd.readouterr().out
    assert updated(tmp_path, "--list", "--json") == 0
    told = json.loads(capfd.readouterr().out)
    assert (told["node"], told["masters"]) == ("fw1", ["51@lan"])


def test_a_master_is_refused_with_what_to_do(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert updated(tmp_path) == 1
    said = capfd.readouterr().err
    assert "fw1 is MASTER of 51@lan" in said and "hand over first" in said
    assert updated(tmp_path, "--follow", "--json") == 1
    assert "nothing was updated there yet" in "".join(capfd.readouterr())
    assert updated(tmp_path, "--refresh") == 1
    assert "--refresh is for --list" in capfd.readouterr().err
