"""Runs a program of the operator's as a transient unit: outside of the sandbox of the agent.

Room: agent. What a hook does (ip, wg, a cloud's API) is anything that root does; the agent's own
unit may do less. systemd keeps the limit in time, also when the agent dies meanwhile, and ends
everything that was started. Decision 55.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dbus_fast import Variant

from carpool.agent.scriptrun import (
    GRACE_S,
    Call,
    DirectRunner,
    Output,
    Ran,
    Runner,
    over,
    stdin_of,
)
from carpool.agent.services import ServiceError, Services
from carpool.agent.systemd import SYSTEMD, NoBusError, SystemdServices, UnitExistsError
from carpool.kernel.checkrun import ENVIRONMENT
from carpool.kernel.journal import say
from carpool.kernel.unitstate import BOOTED

AGAIN_S = 0.2  # while one that an agent before this one began still runs
PATIENCE_S = 14.0  # with systemd, over twice a program's limit
CLD_EXITED = 1  # waitid(2)
EXIT_EXEC = 203  # systemd.exec(5): there is no such file, or it cannot be run
LOG_WARNING = 4  # systemd does not log that it began and ended


# systemd.exec(5): a user that there is only meanwhile, who sees and may nothing but the network.
_SHUT: list[list[Any]] = [
    ["DynamicUser", Variant("b", True)],  # and with it ProtectSystem=strict, PrivateTmp...
    ["User", Variant("s", "carpool-alert")],  # of that name, whatever the unit is called
    ["CapabilityBoundingSet", Variant("t", 0)],
    ["NoNewPrivileges", Variant("b", True)],
    ["PrivateDevices", Variant("b", True)],
    ["ProtectHome", Variant("s", "yes")],
    ["ProtectKernelTunables", Variant("b", True)],
    ["ProtectKernelModules", Variant("b", True)],
    ["ProtectProc", Variant("s", "invisible")],
    ["RestrictNamespaces", Variant("t", 0)],
    ["MemoryMax", Variant("t", 256 << 20)],
    ["TasksMax", Variant("t", 64)],
]


class TransientRunner:
    """Where there is no bus, as DirectRunner does it: better in the sandbox than not at all."""

    def __init__(
        self,
        systemd: SystemdServices,
        now_s: Callable[[], float],
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._systemd = systemd
        self._now_s = now_s
        self._patience_s = patience_s
        self._direct = DirectRunner(now_s)

    async def run(self, call: Call) -> Ran:
        begun_s = self._now_s()
        with stdin_of(call.document) as document, Output() as output:
            try:
                async with asyncio.timeout(2 * call.timeout_s + self._patience_s):
                    return await self._run(call, document, output, begun_s)
            except TimeoutError:
                failure = "systemd did not say how it ended"
            except NoBusError as error:
                say(f"agent: {call.unit} runs within the agent: {error.message}")
                failure = ""
            except ServiceError as error:
                failure = f"cannot be started: {error.message}"
        if not failure:
            return await self._direct.run(call)
        return Ran(None, self._now_s() - begun_s, output.text, failure)

    async def _run(self, call: Call, document: int, output: Output, begun_s: float) -> Ran:
        unit = f"{call.unit}.service"
        descriptors = (document, output.writer)
        while True:
            try:
                async with output.heard():
                    await self._systemd.job(
                        "StartTransientUnit",
                        "ssa(sv)a(sa(sv))",
                        [unit, "fail", _properties(call), []],
                        descriptors,
                    )
                    output.hang_up()
                break
            except UnitExistsError:  # serially with itself
                await asyncio.sleep(AGAIN_S)
            except (asyncio.CancelledError, ServiceError) as error:
                # Also a systemd that hangs comes to this some time; else the name stays taken.
                await self._systemd.tell("UnrefUnit", "s", [unit])
                if not call.outlives and isinstance(error, asyncio.CancelledError):
                    await self._stop(unit)
                raise
        (path,) = await self._systemd.manager("GetUnit", "s", [unit])
        try:
            found = await self._systemd.properties(path, f"{SYSTEMD}.Service")
        finally:
            await self._systemd.manager("UnrefUnit", "s", [unit])
        took_s = self._now_s() - begun_s
        if found["Result"] == "timeout":
            return Ran(None, took_s, output.text, over(call.timeout_s))
        if not found["ExecMainPID"]:
            return Ran(None, took_s, output.text, f"cannot be started: {found['Result']}")
        if (found["ExecMainCode"], found["ExecMainStatus"]) == (CLD_EXITED, EXIT_EXEC):
            failure = f"cannot be started: {call.argv[0]} is no program"
            return Ran(None, took_s, output.text, failure)
        sign = 1 if found["ExecMainCode"] == CLD_EXITED else -1
        return Ran(sign * found["ExecMainStatus"], took_s, output.text)

    async def _stop(self, unit: str) -> None:
        """It may not have come to be."""
        with contextlib.suppress(ServiceError, TimeoutError):
            async with asyncio.timeout(self._patience_s):
                await self._systemd.job("StopUnit", "ss", [unit, "replace"])


def runner_for(services: Services, root: Path, now_s: Callable[[], float]) -> Runner:
    """systemd runs programs where it runs services. With another `root` (a lab's firewall) it is
    that of another machine."""
    if isinstance(services, SystemdServices) and root == Path("/") and BOOTED.is_dir():
        return TransientRunner(services, now_s)
    return DirectRunner(now_s)


def _properties(call: Call) -> list[list[Any]]:
    environment = [f"{key}={value}" for key, value in {**ENVIRONMENT, **call.environment}.items()]
    argv = list(call.argv)
    program = shutil.which(argv[0], path=ENVIRONMENT["PATH"]) or argv[0]  # as DirectRunner does
    # systemd would put its own variables in place of `$NAME` in the words.
    command = [program, argv, ["no-env-expand"]]
    limits_us = {"TimeoutStartUSec": call.timeout_s, "TimeoutStopUSec": GRACE_S}
    return [
        ["Description", Variant("s", f"carpool: {argv[0]}")],
        ["Type", Variant("s", "oneshot")],  # so that its start has ended when it has
        ["ExecStartEx", Variant("a(sasas)", [command])],
        ["Environment", Variant("as", environment)],
        ["StandardInputFileDescriptor", Variant("h", 0)],
        ["StandardOutputFileDescriptor", Variant("h", 1)],
        ["StandardErrorFileDescriptor", Variant("h", 1)],
        ["KillMode", Variant("s", "control-group")],
        ["CollectMode", Variant("s", "inactive-or-failed")],
        ["AddRef", Variant("b", True)],  # until we have read how it ended
        ["LogLevelMax", Variant("i", LOG_WARNING)],
        *([name, Variant("t", int(limit_s * 1e6))] for name, limit_s in limits_us.items()),
        *(_SHUT if call.unprivileged else []),
    ]
