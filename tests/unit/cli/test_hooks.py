"""`carpool hooks`: what is asked of the agent, which is a real one of this node."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from carpool.agent.agent import Agent
from carpool.cli.main import main
from carpool.errors import EXIT_FAILED, EXIT_OK, EXIT_UNREACHABLE
from tests.unit.agent.home import config_of, serving


def hooks(directory: Path, *words: str) -> int:
    """Ask an agent that serves meanwhile."""
    hook = directory / "hooks.d" / "cloud"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\necho "$1 $2"; [ "$2" = MASTER ]\n')
    hook.chmod(0o755)

    async def asked() -> int:
        config = config_of("fw1", None)
        agent = Agent(
            config, config_dir=directory, run_dir=directory, state_dir=directory, root=directory
        )
        async with serving(agent):
            argv = ["--run-dir", str(directory), "hooks", *words]
            return await asyncio.to_thread(main, argv)

    return asyncio.run(asked())


def test_listed_tried_and_remembered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hooks(tmp_path) == EXIT_OK
    assert "cloud  group " in capsys.readouterr().out
    assert hooks(tmp_path, "run", "cloud") == EXIT_OK
    assert capsys.readouterr().out.startswith("cloud, group MASTER: exit status 0 after ")
    assert hooks(tmp_path, "run", "cloud", "--role", "BACKUP", "--json") == EXIT_FAILED
    told = json.loads(capsys.readouterr().out)
    assert (told["event"], told["status"], told["last_line"]) == ("try", 1, "group BACKUP")
    assert hooks(tmp_path, "--json") == EXIT_OK, "another agent, which finds it in the event log"
    (row,) = json.loads(capsys.readouterr().out)["hooks"]
    assert row["last"] == told
    assert main(["events", "--run-dir", str(tmp_path)]) == EXIT_UNREACHABLE
    assert "cloud, group BACKUP: exit status 1 after" in capsys.readouterr().out


def test_what_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hooks(tmp_path, "run", "none") == EXIT_FAILED
    assert "there is no hook 'none'" in capsys.readouterr().err
    assert hooks(tmp_path, "run", "cloud", "--vip", "9@lan") == EXIT_FAILED
    assert "there is no VIP '9@lan'" in capsys.readouterr().err


def test_without_an_agent(tmp_path: Path) -> None:
    assert main(["--run-dir", str(tmp_path), "hooks"]) == EXIT_UNREACHABLE
