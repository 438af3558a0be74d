"""The group.toml that this node's processes go by: taking up another one, and agreeing that all
nodes have it.

Room: agent. The failover process does it (`service/groupchange.py`), and sends and accepts what was
before, too, until it is told that every node has the new one. Here it is asked, and told.
"""

from __future__ import annotations

import asyncio
import codecs
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path

from carpool.agent.answers import GroupStand, checked
from carpool.agent.check import Refused
from carpool.agent.client import PeerClient as Peer
from carpool.agent.job import Event
from carpool.api.control import FAILOVER, STATES, Answer, request, socket_of
from carpool.errors import CarpoolError, NotRunningError, UnreachableError
from carpool.kernel import clock
from carpool.kernel.appliedfile import PROPOSED, replace_file
from carpool.model.finding import GROUP_FILE

PATH = "/v1/peer/group"
REPLICATION = "replication with "  # a peer, as a key of what must not become worse
ANSWER_WAIT_S = 10.0
NOT_ASKED = "it cannot be asked: there is no [sync] here"
TRIES_MAX, AGAIN_S = 10, 0.1  # while a socket is there that nobody serves


class GroupFile:
    """`reload`: the agent's own reading of the files anew."""

    def __init__(
        self,
        run_dir: Path,
        config_dir: Path,
        state_dir: Path,
        reload: Callable[[], Awaitable[object]],
    ) -> None:
        self._run_dir = run_dir
        self._proposed = state_dir / PROPOSED
        self._proposing = asyncio.Lock()
        self._file = config_dir / GROUP_FILE
        self._reload = reload
        self._anew = False  # the states process began anew at the last `take_up`
        self.waits = False  # the last `take_up` is put back unless it is confirmed

    async def look(self, *, force: bool = False) -> list[str]:
        """What `take_up` would change for failover. The agent alone goes by the files. Raises
        CarpoolError for what failover would refuse."""
        status = await self._ask(FAILOVER, {"command": "status"})
        if _left_s(status) is not None:
            raise _waits()
        look = {"command": "reload", "force": force, "dry_run": True}
        changes = (await self._ask(FAILOVER, look)).get("changes")
        await self._reload()
        return [str(line) for line in changes] if isinstance(changes, list) else []

    async def would(self, text: str, *, force: bool = False) -> list[str]:
        """What failover would change if that were group.toml. It counts nowhere. Raises
        CarpoolError for what failover would refuse."""
        if await self.left_s() is not None:
            raise _waits()
        look = {"command": "reload", "force": force, "dry_run": True, "proposed": True}
        async with self._proposing:
            await asyncio.to_thread(replace_file, self._proposed, text.encode(), like=None)
            try:
                answer = await self._ask(FAILOVER, look)
            finally:
                self._proposed.unlink(missing_ok=True)
        if answer and not answer.get("proposed"):
            raise Refused(
                "the failover process is of an older carpool, and cannot say what this would do",
                hint="start it again: `systemctl restart carpool-failover`",
            )
        changes = answer.get("changes")
        return [str(line) for line in changes] if isinstance(changes, list) else []

    async def left_s(self) -> float | None:
        """Until a change that waits to be confirmed here is put back; None: nothing waits."""
        left_s = _left_s(await self._ask(FAILOVER, {"command": "status"}))
        return float(left_s) if isinstance(left_s, int | float) else None

    async def take_up(self, *, force: bool = False, with_peers_s: float | None = None) -> list[str]:
        """All processes of this node go by the files as they are now; in words what that changes
        for failover. One that does not run reads them when it starts. After `with_peers_s` seconds
        failover puts files and all back, unless it is confirmed. Raises CarpoolError."""
        command: dict[str, object] = {"command": "reload", "force": force}
        if with_peers_s is not None:
            command |= {"confirm_within_s": with_peers_s, "with_peers": True}
        answer = await self._ask(FAILOVER, command)
        self.waits = answer.get("waits") is True
        self._anew = bool((await self._ask(STATES, {"command": "reload"})).get("restarts"))
        await self._reload()
        changes = answer.get("changes")
        return [str(line) for line in changes] if isinstance(changes, list) else []

    def comparable(self, before: Mapping[str, str], *, force: bool = False) -> dict[str, str]:
        """What of this node's health before the last `take_up` must be so after it. States that
        began anew cannot reach a peer that has not got the same `[states]` yet, and who takes up by
        force what demotes this node wants its VIPs to go."""
        return {
            key: value
            for key, value in before.items()
            if not (self._anew if key.startswith(REPLICATION) else force)
        }

    async def stand(self) -> GroupStand:
        """Which group.toml counts here, and whether another one counts, too."""
        status = await self._ask(FAILOVER, {"command": "status"})
        told = status.get("group_digest")
        digest = str(told) if told else await asyncio.to_thread(_digest, self._file)
        return GroupStand(digest=digest, changing=status.get("change") is not None)

    async def with_peers(self) -> bool:
        """Whether what peers wait to have confirmed is to be confirmed here, too."""
        status = await self._ask(FAILOVER, {"command": "status"})
        change = status.get("change")
        return isinstance(change, dict) and change.get("with_peers") is True

    async def decide(self, *, keep: bool) -> None:
        """What waits here. Raises CarpoolError."""
        await self._ask(FAILOVER, {"command": "confirm" if keep else "take_back"})
        if not keep:
            await self._reload()

    async def behind(self) -> bool:
        """Whether failover goes by another group.toml than the file says. Raises CarpoolError."""
        own = await self.stand()
        return own.digest != await asyncio.to_thread(_digest, self._file)

    async def settle(self, digest: str) -> None:
        """What was before counts no more. Raises CarpoolError when this node goes by another
        group.toml than that."""
        await self._ask(FAILOVER, {"command": "settle", "digest": digest})

    async def settle_all(
        self, peers: Sequence[Peer], names: Collection[str]
    ) -> AsyncIterator[Event]:
        """If all nodes have the same, on all of them; else a word about who has not. `names`: of
        the peers that there are, by node.toml."""
        try:
            own = await self.stand()
        except CarpoolError as error:
            yield {"step": "unsettled", "without": {"this node": error.message}}
            return
        others: dict[str, GroupStand] = {}
        without = dict.fromkeys(sorted({*names} - {peer.name for peer in peers}), NOT_ASKED)
        for peer in peers:
            try:
                stand = checked(GroupStand, await peer.get(PATH), peer.name)
            except CarpoolError as error:
                without[peer.name] = error.message
            else:
                others[peer.name] = stand
                if stand.digest != own.digest:
                    without[peer.name] = "it goes by another group.toml"
        changing = own.changing or any(one.changing for one in others.values())
        if without:
            if changing:
                yield {"step": "unsettled", "without": without}
            return
        if not changing:
            return
        for peer in peers:
            try:
                await peer.post(f"{PATH}/settle", {"digest": own.digest})
            except CarpoolError as error:
                yield {"step": "unsettled", "without": {peer.name: error.message}}
                return
        try:
            await self.settle(own.digest)
        except CarpoolError as error:
            yield {"step": "unsettled", "without": {"this node": error.message}}
            return
        yield {"step": "settled", "nodes": len(peers) + 1}

    async def _ask(self, process: str, command: Mapping[str, object]) -> Answer:
        """Nothing from a process that does not run. One that died is replaced within milliseconds,
        and the next one goes by what counted before: it is to hear of this, too. UnreachableError
        from one that hangs, or that died of this twice: whether it was heard is not known."""
        path = socket_of(self._run_dir, process)
        until_s = clock.monotonic_s() + ANSWER_WAIT_S
        silent: UnreachableError | None = None
        for _ in range(TRIES_MAX):
            left_s = until_s - clock.monotonic_s()
            if left_s <= 0 or not (path.exists() or silent):
                break
            try:
                return await asyncio.to_thread(request, path, command, left_s)
            except NotRunningError:
                pass
            except UnreachableError as error:
                if silent is not None:
                    raise
                silent = error
            await asyncio.sleep(AGAIN_S)
        if silent is not None:
            raise silent
        return {}


def _waits() -> Refused:
    return Refused(
        "a change of the group waits to be confirmed here",
        hint="`carpool confirm` keeps it, `carpool rollback --pending` puts it back",
    )


def _left_s(status: Answer) -> object:
    change = status.get("change")
    return change.get("confirm_left_s") if isinstance(change, dict) else None


def _digest(file: Path) -> str:
    try:
        text = file.read_bytes().removeprefix(codecs.BOM_UTF8)  # as those who read it do
        return hashlib.sha256(text).hexdigest()
    except OSError:
        return ""
