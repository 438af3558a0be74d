"""Whether a node may be updated now, and whether it is back and complete afterwards.

Room: machine. Pure: what failover and states tell in, words out. It believes no answer: some are
those of peers.

Rule 1: nothing is done to a node that is MASTER of anything.
Rule 2: each of its VIPs has a MASTER that answers, and that nothing demotes: while packages are
        replaced, nobody else may be there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from carpool.machine.demotion import SWITCHOVER

Fields = Mapping[str, object]
MASTER, BACKUP = "MASTER", "BACKUP"
NAMED_MAX = 4


@dataclass(frozen=True, slots=True)
class Other:
    """Another node: what its failover tells, or why it tells nothing."""

    name: str
    failover: Fields
    error: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    text: str
    hint: str


def refusal(node: str, own: Fields, others: Sequence[Other]) -> Refusal | None:
    """Why packages of `node` are not to be touched now; None: they may be."""
    if not _tells(own):
        why = str(own.get("error") or "it tells nothing")
        return Refusal(
            f"nobody knows whether {node} is MASTER: {why}",
            str(own.get("hint") or f"`carpool status` on {node} tells more"),
        )
    vips = states_of(own)
    held = [vip for vip, state in vips.items() if state == MASTER]
    if held:
        return Refusal(
            f"{node} is MASTER of {named(held)}: packages of a MASTER are not touched",
            f"hand over first: `carpool maintenance on` on {node}, or `carpool switchover`; then "
            "ask again",
        )
    for vip in vips:
        holder = next((one for one in others if states_of(one.failover).get(vip) == MASTER), None)
        if holder is None or holder.error:
            return _no_holder(node, vip, others)
        reasons = [one for one in demotions(holder.failover) if one != SWITCHOVER]
        if reasons:
            return Refusal(
                f"{holder.name} is MASTER of {vip}, but not well ({', '.join(reasons)}): {node} "
                "may be needed at any moment",
                f"mend {holder.name} first: `carpool status` on it tells more",
            )
    return None


def _no_holder(node: str, vip: str, others: Sequence[Other]) -> Refusal:
    silent = [one for one in others if one.error]
    if not silent:
        text = f"no other node is MASTER of {vip}: {node} may be needed at any moment"
        return Refusal(text, "`carpool status` on each node tells who is")
    first = silent[0]
    text = f"nobody is known to be MASTER of {vip}, as {first.name} does not answer: {first.error}"
    return Refusal(text, first.hint or f"is {first.name} up, and the link between the nodes?")


def states_of(failover: Fields) -> dict[str, str]:
    """State by VIP."""
    return {
        f"{row.get('vhid')}@{row.get('interface')}": str(row.get("state"))
        for row in _rows(failover, "vhosts")
    }


def demotions(failover: Fields) -> list[str]:
    return [str(row.get("reason")) for row in _rows(failover, "demotion")]


@dataclass(frozen=True, slots=True)
class Before:
    """How the node was when it began."""

    vips: Mapping[str, str]
    services: Sequence[str]  # that ran
    streams: Sequence[str]  # peers whose stream of states was up


def missing(
    before: Before, failover: Fields, states: Fields | None, services: Sequence[str], version: str
) -> list[str]:
    """What the node lacks to be back and complete; `services`: those that run now, `version`: of
    the carpool that is installed."""
    return list(_missing(before, failover, states, services, version))


def _missing(
    before: Before, failover: Fields, states: Fields | None, services: Sequence[str], version: str
) -> Iterator[str]:
    if not _tells(failover):
        yield f"failover does not answer: {failover.get('error') or 'it tells nothing'}"
        return
    now = states_of(failover)
    for vip, was in before.vips.items():
        state = now.get(vip, "unknown")
        if state == MASTER:
            yield f"it is MASTER of {vip}: the others have lost it meanwhile"
        elif state not in (BACKUP, was):
            yield f"it is {state} of {vip}, and was {was}"
    running = failover.get("version")
    if running and running != version:
        yield f"failover runs carpool {running}, {version} is installed"
    if states is not None:
        yield from _replication(before, states)
    for name in before.services:
        if name not in services:
            yield f"service {name} does not run, as it did before"


def _replication(before: Before, states: Fields) -> Iterator[str]:
    if "error" in states:
        yield f"states does not answer: {states['error']}"
        return
    peers = {str(row.get("name")): row for row in _rows(states, "peers")}
    for name in before.streams:
        row = peers.get(name, {})
        if row.get("connected") is not True:
            yield f"no stream of states with {name}: {row.get('last_error') or 'not connected'}"
        elif row.get("bulk") not in (None, "complete"):
            yield f"not all connections of {name} have come yet"
    hold = states.get("hold")
    if isinstance(hold, Mapping) and hold.get("on"):
        yield f"not all connections are here yet: {hold.get('reason') or 'the table is incomplete'}"


def streams_of(states: Fields | None) -> list[str]:
    """Peers whose stream is up."""
    rows = _rows(states or {}, "peers")
    return [str(row.get("name")) for row in rows if row.get("connected") is True]


def named(names: Sequence[str]) -> str:
    more = len(names) - NAMED_MAX
    told = ", ".join(names[:NAMED_MAX])
    return f"{told} and {more} more" if more > 0 else told


def _tells(failover: Fields) -> bool:
    return "error" not in failover and "vhosts" in failover


def _rows(fields: Fields, key: str) -> list[Fields]:
    found = fields.get(key)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []
