"""Who gets to the socket of the pages, and to nothing else in the run directory: tried by a process
without any right."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from carpool.agent.agent import Agent
from carpool.kernel.journal import Journal
from carpool.kernel.unixserver import make_run_dir
from tests.unit.agent.home import agent_of, serving

NOBODY = 65534
PAGES = "games", 60  # a group that Debian has, and that has nobody in it (base-passwd)
TRY = """
import os, socket, sys
for path in sys.argv[1:]:
    try:
        if path.endswith(".sock"):
            socket.socket(socket.AF_UNIX).connect(path)
        elif path.endswith("/"):
            os.listdir(path)
        elif path.endswith("+"):
            open(path, "w")
        else:
            open(path)
    except OSError as error:
        print(error.strerror)
    else:
        print("yes")
"""


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    # tmp_path is the user's alone, all the way down.
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        run_dir = Path(name) / "run"
        make_run_dir(run_dir)
        made = agent_of(tmp_path)
        made.run_dir = run_dir
        yield made


def tried(group: int, *paths: Path | str) -> list[str]:
    argv = (sys.executable, "-I", "-c", TRY, *map(str, paths))
    done = subprocess.run(
        argv, user=NOBODY, group=group, extra_groups=[], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_the_group_gets_to_its_socket_and_to_nothing_else(agent: Agent) -> None:
    run_dir = agent.run_dir
    paths = [run_dir / "web/agent.sock", agent.socket, run_dir / "agent.events"]
    listed = [f"{run_dir}/", f"{run_dir}/web/", f"{run_dir}/web/new+"]

    async def scenario() -> None:
        async with serving(agent, pages_group=PAGES[0]):
            Journal(run_dir / "agent.events").add({"kind": "x"})
            no = "Permission denied"
            pages = await asyncio.to_thread(tried, PAGES[1], *paths, *listed)
            assert pages == ["yes", no, no, no, "yes", no]
            others = await asyncio.to_thread(tried, NOBODY, *paths, *listed)
            assert others == [no] * 6

    asyncio.run(scenario())
