"""How the configuration of the peers stands, and the schedule of its synchronisation, for the verbs
that show it besides something else.

Room: cli. Asks the agent of this node, where there is one, and waits no longer than it is worth.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from carpool.agent.localclient import SOCKET, LocalClient
from carpool.api.control import Answer
from carpool.errors import CarpoolError, UnreachableError
from carpool.model.config import Config

AT_ONCE_S = 2.0  # for who wants something else, too
_OF_PEERS = 0.75  # of the time; the rest is for the agent to say that a peer is silent

Stands = Mapping[str, Mapping[str, Answer]]  # by peer and section: drift, why, since, agreed


def ask(run_dir: Path, config: Config | None, wait_s: float) -> Answer | CarpoolError | None:
    """The agent's answer, or why there is none; None where `[sync]` is not configured."""
    if config is None or config.group.sync is None:
        return None
    try:
        with LocalClient(run_dir) as agent:
            wait = {"wait_s": f"{wait_s * _OF_PEERS:g}"}
            return agent.get("/v1/drift", wait, timeout_s=wait_s)
    except CarpoolError as error:
        return error


def schedule(
    run_dir: Path, config: Config | None, asked: Answer | CarpoolError | None = None
) -> Answer | CarpoolError | None:
    """How the schedule stands, or why nobody says so; None where there is none. `asked` is what
    `ask` returned: an agent that is silent is not waited for once more."""
    if config is None or config.group.sync is None or not config.group.sync.schedule:
        return None
    if isinstance(asked, UnreachableError):
        return asked
    try:
        with LocalClient(run_dir) as agent:
            found = agent.get("/v1/schedule", timeout_s=AT_ONCE_S).get("schedule")
    except CarpoolError as error:
        return error
    if isinstance(found, dict):
        return found
    return CarpoolError("the agent has none: it reads the files when it starts", hint="restart it")


def stands(answer: Answer | CarpoolError | None) -> Stands | None:
    """What it tells, or None."""
    peers = answer.get("peers") if isinstance(answer, dict) else None
    return peers if isinstance(peers, dict) else None


def waiting(answer: Answer | CarpoolError | None) -> Answer | None:
    """What waits to be confirmed on this node, by whom, and how long still."""
    found = answer.get("waiting") if isinstance(answer, dict) else None
    return found if isinstance(found, dict) else None


def waiting_on(answer: Answer | CarpoolError | None) -> Mapping[str, Answer]:
    """The same on peers, by name."""
    found = answer.get("waiting_on") if isinstance(answer, dict) else None
    return found if isinstance(found, dict) else {}


def troubles(run_dir: Path, asked: Answer | CarpoolError | None) -> list[object] | None:
    """What the agent finds wrong around carpool; None where there is no agent that answers."""
    if isinstance(asked, UnreachableError) or not (run_dir / SOCKET).exists():
        return None
    try:
        with LocalClient(run_dir) as agent:
            found = agent.get("/v1/troubles", timeout_s=AT_ONCE_S).get("troubles")
    except UnreachableError:
        return None
    except CarpoolError:
        return []  # of another version
    return found if isinstance(found, list) else []
