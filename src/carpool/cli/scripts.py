"""How hooks do, for the verbs that show it besides something else.

Room: cli. Asks the agent of this node, where there is one, and waits no longer than it is worth.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from carpool.agent.localclient import LocalClient
from carpool.api.control import Answer
from carpool.errors import CarpoolError

WAIT_S = 2.0
ROUTES = ("/v1/hooks",)


def ask(run_dir: Path) -> Iterator[Answer]:
    """What the agent tells of each; nothing where there is none that answers."""
    try:
        with LocalClient(run_dir) as agent:
            for route in ROUTES:
                yield agent.get(route, timeout_s=WAIT_S)
    except CarpoolError:
        return
