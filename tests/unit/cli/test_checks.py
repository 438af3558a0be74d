"""`carpool checks`: what is asked of the agent, which is a real one of this node."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from carpool.agent.agent import Agent
from carpool.cli.main import main
from carpool.errors import EXIT_FAILED, EXIT_OK, EXIT_UNREACHABLE
from tests.unit.agent.home import config_of, serving


def checks(directory: Path, *words: str, status: int = 0) -> int:
    """Ask an agent that serves meanwhile; no check has been run by itself."""
    check = directory / "checks.d" / "disk"
    check.parent.mkdir(exist_ok=True)
    check.write_text(f"#!/bin/sh\necho $CARPOOL_NODE; exit {status}\n")
    check.chmod(0o755)

    async def asked() -> int:
        agent = Agent(
            config_of("fw1", None),
            config_dir=directory,
            run_dir=directory,
            state_dir=directory,
            root=directory,
        )
        async with serving(agent):
            argv = ["--run-dir", str(directory), "checks", *words]
            return await asyncio.to_thread(main, argv)

    return asyncio.run(asked())


def test_run_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert checks(tmp_path) == EXIT_OK
    assert checks(tmp_path, "run", "--json") == EXIT_OK
    (row,) = json.loads(capsys.readouterr().out.partition("\n")[2])["checks"]
    assert (row["name"], row["failing"], row["last_line"]) == ("disk", False, "fw1")
    assert checks(tmp_path, "run", "disk", status=2) == EXIT_FAILED
    shown = capsys.readouterr()
    assert "disk   fails" in shown.out
    assert "disk fails, which demotes by 240: fw1" in (tmp_path / "agent.events").read_text()
    assert checks(tmp_path, "run", "none") == EXIT_FAILED
    assert "there is no check 'none'" in capsys.readouterr().err


def test_without_an_agent(tmp_path: Path) -> None:
    assert main(["--run-dir", str(tmp_path), "checks"]) == EXIT_UNREACHABLE
