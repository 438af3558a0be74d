"""Services as systemd runs them, over D-Bus.

Room: agent. Speaks org.freedesktop.systemd1 (its man page has that name). One connection, made at
the first call and again after it was lost. An answer to StartUnit says only that the job was
queued: done it is when JobRemoved says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from dbus_fast import BusType, Message, MessageFlag, MessageType
from dbus_fast.aio import MessageBus
from dbus_fast.errors import AuthError, InvalidAddressError

from carpool.agent.services import Action, ServiceError, ServiceState, checked, run
from carpool.agent.together import together
from carpool.model.section import SERVICE_TIMEOUT_S

SYSTEMD = "org.freedesktop.systemd1"
MANAGER = f"{SYSTEMD}.Manager"
MANAGER_PATH = "/org/freedesktop/systemd1"
PROPERTIES = "org.freedesktop.DBus.Properties"
CALL_TIMEOUT_S = 25.0  # systemd answers at once unless it is being reloaded
JOURNAL_LINES, JOURNAL_TIMEOUT_S = 10, 5.0
UNSET = (1 << 64) - 1  # of a number that systemd does not know
SUFFIX, TIMER, SOCKET = ".service", ".timer", ".socket"
# What systemctl runs for init scripts, which EnableUnitFiles knows nothing of.
SYSV_INSTALL = ("/lib/systemd/systemd-sysv-install",)
SYSV_SCRIPTS = "/etc/init.d/"
# ReloadOrTryRestartUnit: who cannot reload is restarted, who does not run is left alone.
METHODS = {
    Action.START: "StartUnit",
    Action.STOP: "StopUnit",
    Action.RESTART: "RestartUnit",
    Action.RELOAD: "ReloadOrTryRestartUnit",
}
ENABLED = {"enabled": True, "enabled-runtime": True, "disabled": False, "masked": False}


class NoBusError(ServiceError):
    """There is no systemd to speak with."""


class UnitExistsError(ServiceError):
    """A unit of that name runs already."""


class SystemdServices:
    """`Services` of a systemd. `address` of another bus and the commands are for whole machines in
    the lab."""

    def __init__(
        self,
        address: str | None = None,
        journal: Sequence[str] = ("journalctl",),
        sysv_install: Sequence[str] = SYSV_INSTALL,
    ) -> None:
        self._address = address
        self._journal = tuple(journal)
        self._sysv_install = tuple(sysv_install)
        self._bus: MessageBus | None = None
        self._connecting = asyncio.Lock()
        self._ended: dict[str, str] = {}  # results of jobs that nobody asked for yet
        self._waiting: dict[str, asyncio.Future[str]] = {}
        self._starting = 0  # calls whose job we do not know yet

    async def close(self) -> None:
        if self._bus is not None and self._bus.connected:
            self._bus.disconnect()
            await self._bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
        self._bus = None

    async def states(self, names: Sequence[str]) -> list[ServiceState]:
        return await together(self._state(name) for name in names)

    async def act(self, name: str, action: Action, timeout_s: float = SERVICE_TIMEOUT_S) -> None:
        unit = _unit(name)
        if action in (Action.ENABLE, Action.DISABLE):
            await self._enable(unit, action)
            return
        try:
            async with asyncio.timeout(timeout_s):
                for other in await self._sockets(unit) if action is Action.STOP else ():
                    # Or it would begin the service again.
                    await self.job(METHODS[action], "ss", [other, "replace"])
                result = await self.job(METHODS[action], "ss", [unit, "replace"])
        except TimeoutError:
            result = f"not done in {timeout_s:g} s; systemd goes on with it"
        if result not in ("done", "skipped"):
            said = await self._last_words(unit)
            raise ServiceError(
                f"{action} of {name}: {result}" + (f":\n{said}" if said else ""),
                hint=f"systemctl status {unit}; journalctl -u {unit}",
            )

    async def job(
        self, method: str, signature: str, body: list[Any], descriptors: Sequence[int] = ()
    ) -> str:
        """The result of the job that a method starts: systemd's word. It may end before we are told
        its path."""
        self._starting += 1
        try:
            path = str((await self.manager(method, signature, body, descriptors))[0])
        finally:
            self._starting -= 1
            early = dict(self._ended)
            if not self._starting:
                self._ended.clear()
        if path in early:
            return early[path]
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting[path] = future
        try:
            return await future
        finally:
            del self._waiting[path]

    async def _sockets(self, unit: str) -> list[str]:
        """What would begin it again when somebody knocks."""
        (path,) = await self.manager("LoadUnit", "s", [unit])
        found = await self.properties(path, f"{SYSTEMD}.Unit")
        return [name for name in found["TriggeredBy"] if name.endswith(SOCKET)]

    async def _enable(self, unit: str, action: Action) -> None:
        (path,) = await self.manager("LoadUnit", "s", [unit])
        if _is_script(await self.properties(path, f"{SYSTEMD}.Unit")):
            await self._enable_script(unit.removesuffix(SUFFIX), action)
        elif action is Action.ENABLE:
            known, _ = await self.manager("EnableUnitFiles", "asbb", [[unit], False, False])
            if not known:
                raise ServiceError(
                    f"{unit} cannot be enabled: it has no [Install] section",
                    hint="something else starts it (a socket, a timer, another unit)",
                )
        else:
            await self.manager("DisableUnitFiles", "asb", [[unit], False])
        await self.manager("Reload")

    async def _enable_script(self, name: str, action: Action) -> None:
        argv = [*self._sysv_install, action, name]
        try:
            status, said = await run(argv, CALL_TIMEOUT_S)
        except (OSError, TimeoutError) as error:
            status, said = -1, str(error) or f"not done in {CALL_TIMEOUT_S:g} s"
        if status != 0:
            raise ServiceError(
                f"{action} of {name}, an init script, failed: {said or f'exit status {status}'}",
                hint=f"systemctl {action} {name}",
            )

    async def _state(self, name: str) -> ServiceState:
        (path,) = await self.manager("LoadUnit", "s", [_unit(name)])
        unit = await self.properties(path, f"{SYSTEMD}.Unit")
        if unit["LoadState"] == "not-found":
            return ServiceState(name, installed=False)
        active = unit["ActiveState"] in ("active", "reloading")
        since_us = unit["ActiveEnterTimestamp" if active else "InactiveEnterTimestamp"]
        is_service = not _unit(name).endswith(TIMER)
        memory = await self._memory(path) if active and is_service else UNSET
        starters = (*unit["WantedBy"], *unit["RequiredBy"])
        # Of an init script there are links in /etc/rc?.d, and so the unit is wanted.
        enabled = bool(starters) if _is_script(unit) else ENABLED.get(unit["UnitFileState"])
        return ServiceState(
            name,
            installed=True,
            active=active,
            enabled=enabled,
            wanted_by=tuple(sorted(starters)) if enabled is False else (),
            since=_iso(since_us) if since_us else "",
            memory_bytes=None if memory == UNSET else memory,
            changed=str(unit["StateChangeTimestampMonotonic"]),
            sub=unit["SubState"],
        )

    async def _memory(self, path: str) -> int:
        asked = [f"{SYSTEMD}.Service", "MemoryCurrent"]
        (found,) = await self._call(path, PROPERTIES, "Get", "ss", asked)
        return int(found.value)

    async def _last_words(self, unit: str) -> str:
        argv = [*self._journal, "-u", unit, "-n", str(JOURNAL_LINES), "-o", "cat", "--no-pager"]
        try:
            _, said = await run(argv, JOURNAL_TIMEOUT_S)
        except (OSError, TimeoutError):
            return ""  # the error itself matters more
        return said

    # -- the bus ------------------------------------------------------------------------------

    async def manager(
        self,
        method: str,
        signature: str = "",
        body: list[Any] | None = None,
        descriptors: Sequence[int] = (),
    ) -> list[Any]:
        """A call to systemd itself. Raises ServiceError."""
        bus = await self._connected()
        asked = Asked(SYSTEMD, MANAGER_PATH, MANAGER, method, signature, body or [], descriptors)
        return await _ask(bus, asked)

    async def tell(self, method: str, signature: str, body: list[Any]) -> None:
        """A call of which nobody waits for the answer. What we hold ends with the connection."""
        if self._bus is not None and self._bus.connected:
            asked = Asked(SYSTEMD, MANAGER_PATH, MANAGER, method, signature, body)
            await self._bus.send(_message(asked, MessageFlag.NO_REPLY_EXPECTED))

    async def properties(self, path: str, interface: str) -> dict[str, Any]:
        """Of a unit, by its path. Raises ServiceError."""
        (found,) = await self._call(path, PROPERTIES, "GetAll", "s", [interface])
        return {name: variant.value for name, variant in found.items()}

    async def _call(
        self, path: str, interface: str, method: str, signature: str, body: list[Any]
    ) -> list[Any]:
        bus = await self._connected()
        return await _ask(bus, Asked(SYSTEMD, path, interface, method, signature, body))

    async def _connected(self) -> MessageBus:
        async with self._connecting:
            if self._bus is not None and self._bus.connected:
                return self._bus
            try:
                bus = await MessageBus(
                    bus_address=self._address, bus_type=BusType.SYSTEM, negotiate_unix_fd=True
                ).connect()
            except (OSError, AuthError, InvalidAddressError) as error:
                raise NoBusError(
                    f"cannot speak with systemd: no D-Bus ({error})",
                    hint="is dbus.service running? Without systemd, [services] in node.toml "
                    "names a command",
                ) from error
            bus.add_message_handler(self._heard)
            rule = f"type='signal',sender='{SYSTEMD}',interface='{MANAGER}',member='JobRemoved'"
            bus_name, bus_path = "org.freedesktop.DBus", "/org/freedesktop/DBus"
            await _ask(bus, Asked(bus_name, bus_path, bus_name, "AddMatch", "s", [rule]))
            await _ask(bus, Asked(SYSTEMD, MANAGER_PATH, MANAGER, "Subscribe"))
            self._bus = bus
            return bus

    def _heard(self, message: Message) -> None:
        if message.message_type is not MessageType.SIGNAL or message.member != "JobRemoved":
            return
        _, path, _, result = message.body
        future = self._waiting.get(path)
        if future is not None and not future.done():
            future.set_result(result)
        elif self._starting:
            self._ended[path] = result


class Asked(NamedTuple):
    """A call of a method."""

    destination: str
    path: str
    interface: str
    method: str
    signature: str = ""
    body: Sequence[Any] = ()
    descriptors: Sequence[int] = ()  # that `h` in the body are indexes of


async def _ask(bus: MessageBus, asked: Asked) -> list[Any]:
    method = asked.method
    try:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            reply = await bus.call(_message(asked))
    except TimeoutError:
        said = f"systemd gave no answer to {method} in {CALL_TIMEOUT_S:g} s"
        raise ServiceError(said, hint="is it being reloaded? `systemctl list-jobs`") from None
    except (OSError, EOFError) as error:
        raise ServiceError(f"D-Bus ended the connection during {method}: {error}") from error
    if reply.message_type is not MessageType.METHOD_RETURN:
        said = " ".join(map(str, reply.body)) or str(reply.error_name)
        if reply.error_name == f"{SYSTEMD}.UnitExists":
            raise UnitExistsError(f"systemd refused {method}: {said}")
        raise ServiceError(f"systemd refused {method}: {said}", hint="`systemctl` may say more")
    return list(reply.body)


def _message(asked: Asked, flags: MessageFlag = MessageFlag.NONE) -> Message:
    return Message(
        destination=asked.destination,
        path=asked.path,
        interface=asked.interface,
        member=asked.method,
        flags=flags,
        signature=asked.signature,
        body=list(asked.body),
        unix_fds=list(asked.descriptors),
    )


def _unit(name: str) -> str:
    name = checked(name)
    return name if name.endswith(TIMER) else name.removesuffix(SUFFIX) + SUFFIX


def _is_script(unit: Mapping[str, Any]) -> bool:
    """Whether it was generated for an init script."""
    return str(unit["SourcePath"]).startswith(SYSV_SCRIPTS)


def _iso(us: int) -> str:
    """Microseconds since 1970 as RFC 3339."""
    return datetime.fromtimestamp(us // 1_000_000, UTC).isoformat().replace("+00:00", "Z")
