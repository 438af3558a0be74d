"""`carpool services`: what is asked of the agent, which is a real one of this node."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from carpool.agent.agent import Agent
from carpool.cli.main import main
from carpool.errors import EXIT_FAILED, EXIT_OK
from tests.unit.agent.home import config_of, serving

GROUP = """
[sync]
interface = "sync"
sections = ["web"]

[section.web]
paths = ["/etc/web"]
services = ["webd"]
"""
SCRIPT = """#!/bin/sh
cd "$(dirname "$0")"
case "$2" in status) test -e "$1.runs" || exit 3 ;; start) touch "$1.runs" ;; esac
"""


def services(directory: Path, *words: str) -> int:
    """Ask an agent that serves meanwhile."""
    script = directory / "act"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    (directory / "group.toml").write_text(GROUP)
    config = config_of("fw1", None)
    assert config.group.sync is None
    return asyncio.run(_asked(directory, script, words))


async def _asked(directory: Path, script: Path, words: Sequence[str]) -> int:
    config = config_of("fw1", 1)
    assert config.group.sync is not None
    node = replace(config.node, service_command=(str(script), "{service}", "{action}"), peers=())
    group = replace(config.group, sync=replace(config.group.sync, sections=("web",)))
    agent = Agent(
        replace(config, node=node, group=group),
        config_dir=directory,
        run_dir=directory,
        state_dir=directory,
        root=directory,
    )
    async with serving(agent):
        argv = ["--run-dir", str(directory), "services", *words]
        return await asyncio.to_thread(main, argv)


def test_list_and_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert services(tmp_path, "--json") == EXIT_OK
    answer = json.loads(capsys.readouterr().out)
    (row,) = answer["services"]
    assert (answer["node"], row["name"], row["active"]) == ("fw1", "webd", False)
    assert services(tmp_path, "start", "webd") == EXIT_OK
    assert capsys.readouterr().out == "fw1: webd is active\n"
    assert services(tmp_path) == EXIT_OK
    assert "webd" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["stop"], "stop which service?"),
        (["stop", "sshd/../x"], "nothing answers to POST '/v1/services/sshd/../x/stop'"),
        (["stop", "sshd"], "no section of this node names a service 'sshd'"),
        (["--peer", "fw9"], "no peer fw9"),
    ],
)
def test_what_cannot_be_done_is_told(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert services(tmp_path, *words) == EXIT_FAILED
    assert told in capsys.readouterr().err
