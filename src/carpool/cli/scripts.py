"""How hooks, checks and alerts do, for the verbs that show it besides something else.

Room: cli. Asks the agent of this node, where there is one, and waits no longer than it is worth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from carpool.agent.localclient import LocalClient
from carpool.api.control import Answer
from carpool.errors import CarpoolError

WAIT_S = 2.0
ROUTES = ("/v1/checks", "/v1/hooks", "/v1/alerts")


def ask(run_dir: Path) -> Iterator[Answer]:
    """What the agent tells of each; nothing where there is none that answers."""
    try:
        with LocalClient(run_dir) as agent:
            for route in ROUTES:
                yield agent.get(route, timeout_s=WAIT_S)
    except CarpoolError:
        return


def rows(answers: Sequence[Answer], key: str) -> list[object] | None:
    """Those at `key`; None: nobody told any."""
    found = [answer[key] for answer in answers if key in answer]
    return found[0] if found and isinstance(found[0], list) else None
