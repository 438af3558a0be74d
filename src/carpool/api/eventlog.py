"""What happened on this node: the events of failover, the agent and states, in one order.

Room: api. From the process, or from the file that it left when it does not answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from carpool.api.control import AGENT_EVENTS, FAILOVER, STATES_EVENTS, request, socket_of
from carpool.errors import UnreachableError
from carpool.kernel.journal import Journal

ANSWER_WAIT_S = 3.0
EVENTS_MAX = 1000  # the processes keep no more
FAILOVER_EVENTS = "failover.events"


@dataclass(frozen=True, slots=True)
class Events:
    """Oldest first."""

    rows: list[object]
    error: UnreachableError | None  # why failover does not tell them itself


def events(run_dir: Path, limit: int) -> Events:
    """The newest `limit`, 1 to EVENTS_MAX. Raises CarpoolError when failover refuses."""
    error = None
    try:
        answer = request(
            socket_of(run_dir, FAILOVER), {"command": "events", "limit": limit}, ANSWER_WAIT_S
        )
        told = answer.get("events")
        found: list[object] = [*told] if isinstance(told, list) else []
    except UnreachableError as unreachable:
        error = unreachable
        found = list(Journal(run_dir / FAILOVER_EVENTS).last(limit))
    for others in (AGENT_EVENTS, STATES_EVENTS):
        found += Journal(run_dir / others).last(limit)
    return Events(sorted(found, key=_happened_s)[-limit:], error)


def _happened_s(event: object) -> float:
    at_s = event.get("monotonic_s") if isinstance(event, Mapping) else None
    return at_s if isinstance(at_s, int | float) else 0.0
