"""Updates the packages of this node while it is no MASTER, and tells how it came back.

Room: agent. One update at a time. What it is at is in a file of the state directory: the agent that
comes after this one (by its own upgrade, or a reboot) goes on with it. apt is `aptrun.py`, whether
it may be and whether the node is complete `machine/updating.py`. Decision 71.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from carpool import __version__
from carpool.agent.aptrun import Apt, rows
from carpool.agent.check import Refused
from carpool.agent.client import PeerClient
from carpool.agent.record import write_whole
from carpool.agent.scriptlog import Clocks, event_of
from carpool.agent.waits import ANSWER_WAIT_S
from carpool.agent.watched import NODE_MAX_BYTES, PEER_PATH
from carpool.api import control
from carpool.api.clean import clean
from carpool.api.control import FAILOVER, STATES, as_json
from carpool.errors import CarpoolError, KernelError
from carpool.kernel.journal import say
from carpool.machine import packages, updating
from carpool.machine.updating import Before, Other
from carpool.model.deed import REASON_MAX

if TYPE_CHECKING:
    from carpool.agent.agent import Agent

FILE = "update.json"
MARK = "update.boot"  # in the run directory, where nothing outlives a boot
INSTALLING, REBOOTING, VERIFYING, ENDED = "installing", "rebooting", "verifying", "ended"
LOOK_EVERY_S = 0.5
LAST_WORDS_S = 5.0  # for its output, when it has ended
REBOOT_MAX_S = 300.0  # for this boot to end
VERIFY_MAX_S = 120.0  # for the table of connections to be whole
PEER_WAIT_S = 5.0
NOTES_MAX, KEPT_MAX = 200, 50


@dataclass(slots=True)
class Update:
    """What is under way, or was last."""

    number: str
    by: str
    when: str  # it began, RFC 3339
    install: bool  # or only a reboot
    reboot: bool  # if one is needed; without `install`, in any case
    was_maintained: bool
    before: Before
    phase: str
    notes: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    ordered: bool = False  # the reboot: once, whatever comes of it
    error: str = ""
    hint: str = ""

    @property
    def is_over(self) -> bool:
        return self.phase == ENDED


class Updates:
    """Of one node."""

    def __init__(self, agent: Agent, apt: Apt) -> None:
        self._agent = agent
        self.apt = apt
        self._file = agent.state_dir / FILE
        self._mark = agent.run_dir / MARK
        self._update = _read(self._file)
        self._begun = asyncio.Event()
        self._beginning = asyncio.Lock()
        self._meanwhile = agent.meanwhile
        self._meanwhile.updating = ""
        if self._update is not None and not self._update.is_over:
            self._meanwhile.updating = _who(self._update.by, self._update.when)
            self._begun.set()

    async def run(self) -> None:
        """Follow what is under way, also what an agent before this one began."""
        while True:
            await self._begun.wait()
            self._begun.clear()
            update = self._update
            assert update is not None
            try:
                await self._follow(update)
            except CarpoolError as error:
                update.error, update.hint = update.error or error.message, error.hint
            await self._end(update)

    async def begin(self, by: str, *, install: bool, reboot: bool) -> dict[str, object]:
        """Begin, unless something speaks against it. Raises CarpoolError."""
        async with self._beginning:
            self.apt.may_begin()  # a reboot, too, would be that of the machine that it is on
            await self._refuse()
            self._meanwhile.refuse_update(self._agent.configuration)  # the others took their time
            self._meanwhile.updating = _who(clean(by), self._agent.wall_iso())
            try:
                update = await self._started(by, install=install, reboot=reboot)
            except BaseException:
                self._meanwhile.updating = ""
                raise
            self._update = update
            self._tell(f"{update.by} began to {'update packages' if install else 'reboot it'}")
            self._begun.set()
        return await asyncio.to_thread(self.told, 0, 0)

    def told(self, at: int, notes: int) -> dict[str, object]:
        """How far it is: what apt said from this byte on, and the notes from this one on.
        Blocking."""
        update = self._update
        if update is None:
            return {"node": self._agent.name, "number": "", "phase": "", "lines": [], "notes": []}
        lines, following = self.apt.said(at) if update.install else ([], at)
        return {
            "node": self._agent.name,
            "number": update.number,
            "by": update.by,
            "when": update.when,
            "install": update.install,
            "phase": update.phase,
            "lines": lines,
            "at": following,
            "notes": update.notes[notes:],
            "kept": update.kept,
            "error": update.error,
            "hint": update.hint,
            "version": __version__,
        }

    async def packages(self, *, refresh: bool) -> dict[str, object]:
        """What could be updated, and how the last update went. Raises CarpoolError."""
        if refresh:
            await self.apt.refresh()
        found = await self.apt.found()
        last = await asyncio.to_thread(self.told, 0, 0)
        last["lines"] = []
        own = as_json(await self._agent.status(FAILOVER)) or {}
        return {
            "node": self._agent.name,
            **rows(found),
            "masters": [vip for vip, one in updating.states_of(own).items() if one == "MASTER"],
            "last": last,
        }

    # --------------------------------------------------------------------------- may it be?

    async def _refuse(self) -> None:
        if self._update is not None and not self._update.is_over:
            raise Refused(
                f"an update of {self._agent.name} is under way already: {self._update.by} began it",
                hint="`carpool update --follow` shows it",
            )
        self._meanwhile.refuse_update(self._agent.configuration)
        await self._judge()

    async def _judge(self) -> None:
        """By what failover says now, here and on the others. Raises Refused."""
        own = as_json(await self._agent.status(FAILOVER)) or {}
        others = await asyncio.gather(*map(_other, self._agent.peers.values()))
        found = updating.refusal(self._agent.name, own, others)
        if found is not None:
            raise Refused(found.text, hint=found.hint)

    async def _started(self, by: str, *, install: bool, reboot: bool) -> Update:
        """In maintenance mode, and apt runs; or all is as it was. Raises CarpoolError."""
        update = await self._made(by, install=install, reboot=reboot)
        if not update.was_maintained:
            await self._maintain(on=True, reason=_reason(by, install=install))
        try:
            await self._write(update)  # before: who comes after knows of it
            await asyncio.to_thread(self._mark.touch)
            if install:
                await self.apt.begin()
        except CarpoolError as error:
            update.phase, update.error, update.hint = ENDED, error.message, error.hint
            await self._write(update)
            if not update.was_maintained:
                await self._maintain(on=False)
            raise
        return update

    async def _made(self, by: str, *, install: bool, reboot: bool) -> Update:
        own = as_json(await self._agent.status(FAILOVER)) or {}
        states = as_json(await self._agent.status(STATES))
        return Update(
            number=secrets.token_hex(8),
            by=clean(by),
            when=self._agent.wall_iso(),
            install=install,
            reboot=reboot,
            was_maintained=own.get("maintenance") is True,
            before=Before(
                updating.states_of(own), await self._running(), updating.streams_of(states)
            ),
            phase=INSTALLING if install else REBOOTING,
        )

    async def _running(self) -> list[str]:
        """Services of the selected sections that run."""
        return [str(row["name"]) for row in await self._agent.roster.rows() if row.get("active")]

    # ---------------------------------------------------------------------------- its course

    async def _follow(self, update: Update) -> None:
        if update.phase == INSTALLING:
            await self._installed(update)
            why = await asyncio.to_thread(self.apt.needs_reboot)
            if why and update.reboot and not update.error:
                await self._note(update, f"a reboot is needed: {why}", REBOOTING)
            elif why:
                await self._note(update, f"! a reboot is needed: {why}", VERIFYING)
        if update.phase == REBOOTING:
            try:
                await self._rebooted(update)
            except CarpoolError as error:
                update.error, update.hint = f"not rebooted: {error.message}", error.hint
        await self._note(update, "verifying that it is back and complete", VERIFYING)
        await self._verified(update)

    async def _installed(self, update: Update) -> None:
        """Until apt has ended, however it did."""
        while (status := await asyncio.to_thread(self.apt.status)) is None:
            if not await self.apt.is_running():
                await asyncio.sleep(LOOK_EVERY_S)  # between its last two steps
                status = await asyncio.to_thread(self.apt.status)
                break
            await asyncio.sleep(LOOK_EVERY_S)
        for _ in range(int(LAST_WORDS_S / LOOK_EVERY_S)):
            if not await self.apt.is_running():
                break
            await asyncio.sleep(LOOK_EVERY_S)
        said = await asyncio.to_thread(self.apt.all_said)
        update.kept = [clean(one) for one in packages.kept_files(said)[:KEPT_MAX]]
        if status == 0:
            await self._note(update, "apt has ended well")
            return
        why = packages.failure(said) if status is not None else "apt was cut short"
        update.error = why or f"apt ended with exit status {status}"
        update.hint = packages.advice(update.error)

    async def _rebooted(self, update: Update) -> None:
        """Ends in another boot; or raises, as it may not be, or does not come about."""
        if await asyncio.to_thread(self._mark.exists):
            if not update.ordered:
                await self._judge()
                update.ordered = True
                await self._note(update, "reboots")
                await self.apt.reboot()
            await asyncio.sleep(REBOOT_MAX_S)
            raise KernelError(
                f"nothing came of it within {REBOOT_MAX_S:g} s",
                hint="`systemctl list-jobs` on it tells what that waits for",
            )
        await self._note(update, "has rebooted")

    async def _verified(self, update: Update) -> None:
        """Until nothing is missing any more, or for long enough."""
        until_s = self._agent.now_s() + VERIFY_MAX_S
        while missing := await self._missing(update):
            if self._agent.now_s() > until_s:
                told = f"it is not complete: {'; '.join(missing)}"
                update.error = f"{update.error}\n{told}" if update.error else told
                update.hint = update.hint or "it stays in maintenance mode: `carpool status` on it"
                return
            await asyncio.sleep(LOOK_EVERY_S)
        await self._note(update, "back and complete: failover, connections and services as before")
        if not update.was_maintained:
            await self._maintain(on=False)
            await self._note(update, "out of maintenance mode")

    async def _missing(self, update: Update) -> list[str]:
        failover = as_json(await self._agent.status(FAILOVER)) or {}
        states = as_json(await self._agent.status(STATES))
        try:
            services = await self._running()
        except CarpoolError as error:
            return [f"how services do is not known: {error.message}"]
        return updating.missing(update.before, failover, states, services, __version__)

    async def _maintain(self, *, on: bool, reason: str = "") -> None:
        """Raises CarpoolError."""
        path = control.socket_of(self._agent.run_dir, control.FAILOVER)
        command: dict[str, object] = {"command": "maintenance", "on": on}
        if reason:
            command["reason"] = reason
        await asyncio.to_thread(control.request, path, command, ANSWER_WAIT_S)

    async def _note(self, update: Update, text: str, phase: str = "") -> None:
        update.phase = phase or update.phase
        update.notes = [*update.notes, text][:NOTES_MAX]
        say(f"agent: update: {text}")
        await self._write(update)

    async def _end(self, update: Update) -> None:
        update.phase = ENDED
        self._meanwhile.updating = ""
        outcome = f"failed: {update.error}" if update.error else "done"
        self._tell(f"the update by {update.by}: {outcome}")
        try:
            await self._write(update)
        except CarpoolError as error:
            say(f"agent: {error}")

    async def _write(self, update: Update) -> None:
        await asyncio.to_thread(write_whole, self._file, asdict(update))

    def _tell(self, text: str) -> None:
        line = clean(text.replace("\n", "; "))[:1000]
        say(f"agent: {line}")
        clocks = Clocks(self._agent.now_s, self._agent.wall_iso)
        self._agent.journal.add(event_of("update", line, clocks))


async def _other(peer: PeerClient) -> Other:
    try:
        answer = await peer.get(PEER_PATH, timeout_s=PEER_WAIT_S, max_bytes=NODE_MAX_BYTES)
    except CarpoolError as error:
        return Other(peer.name, {}, error.message, error.hint)
    found = answer.get("failover")
    return Other(peer.name, found if isinstance(found, Mapping) else {})


def _who(by: str, when: str) -> str:
    return f"{by} since {when}"


def _reason(by: str, *, install: bool) -> str:
    return f"{'packages are updated' if install else 'it is rebooted'} by {clean(by)}"[:REASON_MAX]


def _read(file: Path) -> Update | None:
    """Written by an agent, perhaps of another version: what it cannot be read of is over."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return Update(**{**found, "before": Before(**found["before"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
