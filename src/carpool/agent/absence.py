"""Whether a peer that does not answer is really away: nothing of its machine is to be noticed.

Room: agent. A change of group.toml leaves a peer out only then (`groupedits.py`). It keeps a person
from the lesser way while the better one is open; that no second master comes of it does not rest
on this, but on signing twice (`machine/regroup.py`). Refuses to know what is changed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from carpool.agent.apply import Refused
from carpool.agent.client import PeerClient
from carpool.agent.group import REPLICATION
from carpool.agent.watched import Watched
from carpool.errors import CarpoolError, UnreachableError
from carpool.model.config import Address, Config
from carpool.model.finding import closest

KNOCK_WAIT_S = 2.0
UP = "up"


class Node(Protocol):
    """The agent, as far as this file goes."""

    config: Config
    watched: Watched

    @property
    def peers(self) -> Mapping[str, PeerClient]: ...

    async def replication(self) -> dict[str, str]: ...


@dataclass(frozen=True, slots=True)
class Found:
    """Of one peer."""

    away: bool
    why: str  # it does not answer; "": it does
    hint: str = ""
    sign: str = ""  # that its machine runs all the same
    age_s: float | None = None  # of what it told last, as far as that is known

    def told(self) -> dict[str, object]:
        return {
            "away": self.away,
            "why": self.why,
            "hint": self.hint,
            "sign": self.sign,
            "age_s": self.age_s,
        }


async def look(node: Node) -> dict[str, Found]:
    """By peer."""
    shown = {str(row["name"]): row["age_s"] for row in await node.watched.look(node.peers)}
    streams = await node.replication()
    peers = list(node.peers.values())
    found = await asyncio.gather(
        *(_look(node.config, one, streams, shown.get(one.name)) for one in peers)
    )
    return {peer.name: one for peer, one in zip(peers, found, strict=True)}


async def refuse_present(node: Node, names: Sequence[str]) -> None:
    """Only who is away can be left out. Raises Refused."""
    unknown = [name for name in names if name not in node.peers]
    if unknown:
        raise Refused(f"no peer {unknown[0]}", hint=closest(unknown[0], list(node.peers)))
    found = await look(node) if names else {}
    for name in names:
        one = found[name]
        if not one.away:
            told = one.sign or one.why or "it answers"
            raise Refused(
                f"{name} is not away: {told}; nothing was changed",
                hint=one.hint or "change it on all nodes",
            )


async def _look(
    config: Config, peer: PeerClient, streams: Mapping[str, str], age_s: object
) -> Found:
    age = float(age_s) if isinstance(age_s, int | float) else None
    error, sign = await asyncio.gather(_error(peer), _sign(config, peer, streams))
    if error is None:
        return Found(False, "", age_s=age)
    why, hint = error.message, error.hint
    if not isinstance(error, UnreachableError):  # it does answer, and something is wrong with that
        return Found(False, why, hint, f"its agent is there: {why}", age)
    if sign:
        hint = f"start its agent, or mend the link: `systemctl status carpool-agent` on {peer.name}"
    return Found(not sign, why, hint, sign, age)


async def _error(peer: PeerClient) -> CarpoolError | None:
    """Why its agent does not answer as it should."""
    try:
        await peer.about()
    except CarpoolError as error:
        return error
    return None


async def _sign(config: Config, peer: PeerClient, streams: Mapping[str, str]) -> str:
    """What of its machine is to be noticed, or nothing."""
    if streams.get(f"{REPLICATION}{peer.name}") == UP:
        return f"the states process of {peer.name} is connected to this node's"
    door = peer.door
    others = {one for one in _addresses(config, peer.name) if one != str(door.target)}
    knocks = [_knock(one, door.port) for one in sorted(others)]
    knocks.append(_knock(str(door.target), door.port, (str(door.source), 0)))
    heard = [target for target in await asyncio.gather(*knocks) if target]
    return f"the machine of {peer.name} is there, at {', '.join(heard)}" if heard else ""


def _addresses(config: Config, name: str) -> Iterator[str]:
    """All that node.toml says of it."""
    there: Iterable[Mapping[str, Sequence[Address]]]
    there = (one.addresses for one in config.node.peers if one.name == name)
    for addresses in there:
        for interface, some in addresses.items():
            device = config.node.interfaces.get(interface, "")
            for one in some:
                yield f"{one}%{device}" if one.is_link_local and device else str(one)


async def _knock(target: str, port: int, source: tuple[str, int] | None = None) -> str:
    """`target`, when anything answers there; that nobody listens is an answer, too."""
    try:
        async with asyncio.timeout(KNOCK_WAIT_S):
            _reader, writer = await asyncio.open_connection(target, port, local_addr=source)
    except (ConnectionRefusedError, ConnectionResetError):
        return target
    except (TimeoutError, OSError):
        return ""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return target
