"""`carpool apply`: what it says of the agent, which is a real one of this node."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from carpool.agent.agent import Agent
from carpool.api.settings import load
from carpool.cli.main import main
from carpool.errors import EXIT_OK
from tests.unit.agent.home import serving
from tests.unit.api.files import write
from tests.unit.api.process import process, saying


def test_what_the_agent_takes_up_only_when_it_is_restarted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path)
    node = tmp_path / "node.toml"
    config, _problems = load(tmp_path)
    assert config is not None
    agent = Agent(config, config_dir=tmp_path, run_dir=tmp_path, state_dir=tmp_path)
    with node.open("a") as file:
        file.write('[services]\ncommand = ["/bin/act", "{action}", "{service}"]\n')
    answer = b'{"ok": true, "changes": [], "transition": false, "waits": false}\n'

    async def applied() -> int:
        async with serving(agent):
            places = ["--config-dir", str(tmp_path), "--run-dir", str(tmp_path)]
            return await asyncio.to_thread(main, ["apply", *places])

    with process(tmp_path / "failover.sock", saying(answer)):
        assert asyncio.run(applied()) == EXIT_OK
    told = capsys.readouterr().out
    assert told.startswith("nothing changes for failover\n")
    assert "\n[states] is configured, but no states process runs" in told
    assert "\nfor the agent, a restart is needed: [services] command\n  systemctl restart" in told
