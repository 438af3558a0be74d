"""Failovers, found among the events of all nodes: one move of the group is one of them.

Room: web. Pure: events in, moves out, newest first. What a move means is explain.py's. Nodes are
put in order by their wall clocks. A node that booted since has forgotten its part: what the others
say of it is enough to know that there was one.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from carpool.web.timeline import MASTER, NEVER, Event

GROUP_S = 5.0  # VIPs of a dead master time out one by one
MATCH_S = 5.0  # between a node that takes and one that lets go, by two clocks
ADOPTED = "taken on from a process that died"  # a node's own addresses: nothing moved
BY_ANOTHER = (" is a faster master", " is as fast and has the lower address")
HANDED = "handed over to "


@dataclass(slots=True)
class Move:
    """`takes`: what `to` says; empty when it has forgotten. `losses`: what `of` says."""

    to: str
    of: str = ""  # "": nobody, or nobody knows
    takes: list[Event] = field(default_factory=list)
    losses: list[Event] = field(default_factory=list)

    @property
    def all(self) -> list[Event]:
        return self.takes or self.losses

    @property
    def first(self) -> Event:
        """What moved the others, too, comes first."""
        own = [one for one in self.all if not one.text.startswith("moving with ")]
        return (own or self.all)[0]

    @property
    def number(self) -> str:
        """In addresses: the same on the pages of all nodes."""
        return number_of(self.all[0])

    def is_number(self, number: str) -> bool:
        """By any event of it: who knows less of it numbers it otherwise."""
        return any(number == number_of(one) for one in (*self.takes, *self.losses))

    @property
    def vips(self) -> list[str]:
        return list(dict.fromkeys(one.vip for one in self.all))


def number_of(event: Event) -> str:
    return f"{event.when:%Y%m%dT%H%M%S}{event.when.microsecond // 1000:03}-{event.node}"


def ordered(events: Iterable[Event]) -> list[Event]:
    """Oldest first; without a time there is no order."""
    return sorted((one for one in events if one.when != NEVER), key=lambda one: one.when)


def moves_of(events: Sequence[Event], nodes: Sequence[str]) -> list[Move]:
    """Of events in their order. Newest first."""
    moves = [*_taken(events)]
    losses = [one for one in events if is_loss(one)]
    matched = _match(moves, losses)
    moves += _forgotten((one for one in losses if id(one) not in matched), nodes)
    moves.sort(key=lambda one: one.all[0].when)
    holder: dict[str, str] = {}
    for move in moves:
        before = holder.get(move.first.vip, "")
        if not move.of and before != move.to:
            move.of = before
        if not move.of and not move.first.text.startswith("no advertisement"):
            move.of = _other(nodes, move.to)
        holder |= dict.fromkeys(move.vips, move.to)
    return moves[::-1]


def is_loss(event: Event) -> bool:
    return event.old == MASTER and event.new not in ("", MASTER)


def is_yielded(event: Event) -> bool:
    """Whether it let go because it heard another master."""
    return event.text.startswith(HANDED) or event.text.endswith(BY_ANOTHER)


def _taken(events: Iterable[Event]) -> Iterator[Move]:
    """Of what became MASTER: VIPs that one node took within a few seconds."""
    last: dict[str, Move] = {}
    for event in events:
        if not event.is_failover or event.text == ADOPTED:
            continue
        move = last.get(event.node)
        if move is None or not _joins(move, event):
            move = last[event.node] = Move(event.node)
            yield move
        move.takes.append(event)
        for node in [name for name in last if name != event.node]:
            if event.vip in last[node].vips:
                del last[node]


def _joins(move: Move, event: Event) -> bool:
    return _is_near(move.takes[0], event) and event.vip not in move.vips


def _is_near(first: Event, event: Event) -> bool:
    return event.when - first.when <= timedelta(seconds=GROUP_S)


def _match(moves: Sequence[Move], losses: Iterable[Event]) -> set[int]:
    """Give each loss to the move that is nearest in time; which ones were given."""
    by_vip: dict[str, list[tuple[Event, Move]]] = {}
    for move in moves:
        for event in move.takes:
            by_vip.setdefault(event.vip, []).append((event, move))
    for found in by_vip.values():
        found.sort(key=lambda one: one[0].when)
    matched: set[int] = set()
    for loss in losses:
        near = _nearest(loss, by_vip.get(loss.vip, ()))
        if near is not None:
            matched.add(id(loss))
            near.of = near.of or loss.node
            if near.of == loss.node:
                near.losses.append(loss)
    return matched


def _nearest(loss: Event, takes: Sequence[tuple[Event, Move]]) -> Move | None:
    """In order of time, so that the nearest of another node is close by."""
    at = bisect(takes, loss.when, key=lambda one: one[0].when)
    near = [one for one in takes[max(0, at - 3) : at + 3] if one[0].node != loss.node]
    if not near:
        return None
    take, move = min(near, key=lambda one: abs(one[0].when - loss.when))
    return move if abs(take.when - loss.when) <= timedelta(seconds=MATCH_S) else None


def _forgotten(losses: Iterable[Event], nodes: Sequence[str]) -> Iterator[Move]:
    """Of who lost to another master that tells nothing of it (it booted since)."""
    last: dict[str, Move] = {}
    for event in filter(is_yielded, losses):
        known = last.get(event.node)
        if known is None or not _is_near(known.losses[0], event) or event.vip in known.vips:
            winner = _other(nodes, event.node) or _address(event.text)
            known = last[event.node] = Move(winner, event.node)
            yield known
        known.losses.append(event)


def _other(nodes: Sequence[str], node: str) -> str:
    """Of a pair; "" where there are more."""
    others = [name for name in nodes if name != node]
    return others[0] if len(others) == 1 else ""


def _address(text: str) -> str:
    words = text.removeprefix(HANDED).split(" ", 1)
    return words[0][:64]
