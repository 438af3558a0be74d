"""Commands that switch a service when this node takes up another role, and what came of a move.

Room: agent. Refuses to know when: `roles.py` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from carpool.agent.scriptrun import Call, Runner
from carpool.agent.services import (
    TAIL_MAX_BYTES,
    Action,
    ServiceError,
    Services,
    ServiceState,
    checked,
)
from carpool.model.section import SERVICE_TIMEOUT_S, Service

UNIT_NAME_MAX = 200  # characters of a service's in it; systemd takes 255 in all
SWITCH = "switch"  # beside the verbs of `Action`, in logs and in a `Move`


@dataclass(frozen=True, slots=True)
class Move:
    """How a service took up the role of this node the last time."""

    master: bool  # the role
    did: str  # start, stop or switch
    at: str  # RFC 3339
    took_s: float
    after_s: float | None  # from when failover said the role until it was done; None: not for that
    error: str = ""


async def switch(service: Service, master: bool, runner: Runner) -> None:
    """Run its command for this role. Raises ServiceError; killed, with all that it started, when
    its time is over or this is cancelled."""
    instance = checked(service.name).replace("@", ":")  # it is put into the words, too
    argv = service.command(master)
    unit = f"carpool-{SWITCH}-{instance[:UNIT_NAME_MAX]}"
    ran = await runner.run(Call(unit, argv, {}, b"", service.timeout_s, outlives=False))
    if ran.ok:
        return
    said = ran.output.strip()[-TAIL_MAX_BYTES:]
    key = "on_master" if master else "on_backup"
    raise ServiceError(
        f"{SWITCH} of {service.name} failed: `{' '.join(argv)}`: {ran.words}"
        + (f":\n{said}" if said else ""),
        hint=f"run it by hand; it is {key} of {service.name}",
    )


class Heeded:
    """`Services` of which somebody learns what was acted on: a service that was begun or reloaded
    may have forgotten what it was switched to."""

    def __init__(self, services: Services, heed: Callable[[str], None]) -> None:
        self._services = services
        self._heed = heed

    async def states(self, names: Sequence[str]) -> list[ServiceState]:
        return await self._services.states(names)

    async def act(self, name: str, action: Action, timeout_s: float = SERVICE_TIMEOUT_S) -> None:
        try:
            await self._services.act(name, action, timeout_s)
        finally:
            self._heed(name)
