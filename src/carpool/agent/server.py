"""`carpool run agent`: the loop of the process, from its first listener to its last goodbye.

Room: agent. Joins the agent, its application and its listeners; holds no logic of its own.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from carpool import __version__
from carpool.agent.agent import Agent
from carpool.agent.app import build
from carpool.agent.listeners import Listeners
from carpool.agent.nodes import state
from carpool.agent.refusals import Refusals
from carpool.errors import EXIT_OK
from carpool.kernel.heap import keep_for_pieces
from carpool.kernel.journal import never_wait_for_stderr, say
from carpool.kernel.notify import Notify
from carpool.kernel.unixserver import make_run_dir
from carpool.model.config import Config

SWITCH_S = 0.0005  # threads that read and write files wait for the loop at each call; 5 ms is long
STOP_WAIT_S = 3.0  # for requests under way; systemd, and people, wait 5 s and more


def run(
    config: Config,
    *,
    config_dir: Path,
    run_dir: Path,
    state_dir: Path,
    root: Path = Path("/"),
    group_text: str | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. Raises KernelError when it cannot listen.
    `group_text`: a group.toml that counts in place of the file."""
    make_run_dir(run_dir)
    keep_for_pieces()
    never_wait_for_stderr()
    notify = Notify()
    agent = Agent(
        config,
        config_dir=config_dir,
        run_dir=run_dir,
        state_dir=state_dir,
        root=root,
        group_text=group_text,
    )
    _log_to(agent.refusals)
    sys.setswitchinterval(SWITCH_S)
    asyncio.run(serve(agent, notify))
    return EXIT_OK


async def serve(agent: Agent, notify: Notify | None = None) -> None:
    """The same in a loop that runs already, for one agent."""
    notify = notify or Notify({})
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    listeners = Listeners(agent, build(agent))
    try:
        await listeners.claim()  # first: what a living agent is at is nothing to recover
        await agent.configuration.recover()
        await agent.edits.recover()
        await listeners.open()
        say(f"agent {__version__} of node {agent.name} runs, pid {os.getpid()}")
        notify.about = lambda: _about(agent)
        notify.ready()
        async with asyncio.TaskGroup() as tasks:  # a bug in there ends the process
            serving = tasks.create_task(listeners.serve())
            keeping = [
                tasks.create_task(task)
                for task in (
                    *(agent.keep_roles(), agent.keep_files(), agent.keep_schedule()),
                    *(agent.hooks.run(), agent.checks.run()),
                    *(agent.surroundings.run(), agent.samples.run(), agent.updates.run()),
                    agent.alerts.run(partial(state, agent)),
                    _keep_telling(notify, agent.now_s),
                )
            ]
            await stopping.wait()
            notify.stopping("leaving")
            serving.cancel()
            for task in keeping:
                task.cancel()
    finally:
        await listeners.close(STOP_WAIT_S)
        await agent.close()


async def _keep_telling(notify: Notify, now_s: Callable[[], float]) -> None:
    while notify.deadline_s is not None:
        notify.alive(now_s())
        await asyncio.sleep(max(0.0, notify.deadline_s - now_s()))


def _about(agent: Agent) -> str:
    if agent.link is None:
        return agent.surroundings.about("listens to this machine alone: group.toml has no [sync]")
    peers = ", ".join(agent.peers) or "nobody else"
    return agent.surroundings.about(f"listens to this machine and to {peers}")


class _Log(logging.Handler):
    """What uvicorn and asyncio tell: bugs in full, and what others do wrong once in a while."""

    def __init__(self, refusals: Refusals) -> None:
        super().__init__(logging.WARNING)
        self._refusals = refusals

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            say(f"agent: {self.format(record)}")
        else:
            self._refusals.add("bad_request", "a request", record.getMessage())


def _log_to(refusals: Refusals) -> None:
    logging.basicConfig(handlers=[_Log(refusals)], level=logging.WARNING, force=True)
