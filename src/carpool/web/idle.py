"""`carpool run web` before there is anything to serve: most groups have no [web].

Room: web. Asks the agent now and then, and loads as little as possible until it says where to
listen: what serves pages is three times as large. Refuses to know pages.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from carpool.agent.localclient import SOCKET, WEB_SOCKET, LocalClient
from carpool.errors import CarpoolError
from carpool.kernel import clock
from carpool.kernel.journal import never_wait_for_stderr
from carpool.kernel.notify import Notify

LOOK_EVERY_S = 2.0


def agent_socket(run_dir: Path) -> Path:
    """Root in a lab may come by both: by that for the pages, what they do is told as theirs."""
    door = run_dir / WEB_SOCKET
    return door if os.geteuid() != 0 or door.parent.is_dir() else run_dir / SOCKET


def wait(run_dir: Path, notify: Notify, sleep_s: Callable[[float], None] = clock.sleep_s) -> None:
    """Until there are addresses to listen at, or sockets were handed to us; else SIGTERM ends it.
    Never fails for an agent that is not there yet, or answers nonsense."""
    if os.environ.get("LISTEN_FDS"):
        return
    never_wait_for_stderr()
    notify.ready()  # or what boots would wait for it
    while True:
        why = _why_not(agent_socket(run_dir).parent)
        if not why:
            notify.about = None
            return
        notify.about = lambda why=why: why
        notify.alive(clock.monotonic_s())
        sleep_s(min(LOOK_EVERY_S, notify.every_s))


def _why_not(directory: Path) -> str:
    """Nothing when there is something to serve."""
    try:
        with LocalClient(directory) as agent:
            told = agent.get("/v1/web")
    except CarpoolError as error:
        return error.message
    return "" if told.get("addresses") else "no pages: group.toml has no [web]"
