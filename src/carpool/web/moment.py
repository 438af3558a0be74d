"""What was ready when a node took over: its copy of the connections, and services of the master.

Room: web. Pure. From events that states and the agents wrote then; where there are none, it says
so. Whose move it was and why is explain.py's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from carpool.machine.moment import BECAME, CEASED, KIND, span
from carpool.machine.roles import AS_MASTER, AS_OTHER
from carpool.web.failovers import GROUP_S, MATCH_S, Move
from carpool.web.timeline import MASTER, Event

SERVICES_S = 120.0  # three tries with 10 s between them, and what they took
SERVICES_MAX = 40
TEXT_MAX = 400
FAILED = ", but "


@dataclass(frozen=True, slots=True)
class Service:
    """What an agent did with one, or why it could not."""

    node: str
    text: str
    failed: bool


def connections(move: Move, events: Sequence[Event], *, silent: bool) -> str:
    """What the new master had of the connection table. `silent`: it heard no more of the old
    one."""
    had = _told(move, events, move.to, BECAME)
    if had is None:
        return _before(move, events)
    words = [f"{move.to} became {shown(had.text)}."]
    owed = _told(move, events, move.of, CEASED)
    if owed is not None:
        words.append(f"{move.of} says: {shown(owed.text)}.")
    if silent:
        words.append(
            f"What {move.of or 'the old master'} let through after its last word is not in that "
            "copy: connections of that time may be lost."
        )
    return " ".join(words)


def services(move: Move, events: Sequence[Event]) -> list[Service]:
    """Of both sides, in order: started there, stopped here."""
    found = [
        *_acted(move, events, move.to, AS_MASTER),
        *_acted(move, events, move.of, AS_OTHER),
    ]
    return [one for _when, one in sorted(found, key=lambda each: each[0])][:SERVICES_MAX]


def shown(text: str) -> str:
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}…"


def _told(move: Move, events: Sequence[Event], node: str, begin: str) -> Event | None:
    """The line of states that is nearest to the move."""
    near = [
        one
        for one in events
        if one.node == node
        and one.kind == KIND
        and one.text.startswith(begin)
        and abs(one.when - move.first.when) <= timedelta(seconds=MATCH_S)
    ]
    return min(near, key=lambda one: abs(one.when - move.first.when), default=None)


def _before(move: Move, events: Sequence[Event]) -> str:
    """Without such a line: what failover was told of tables before."""
    kept = "What was still to come at that moment is not told."
    bulk = [
        one
        for one in events
        if one.node == move.to and one.kind == "bulk" and one.when <= move.first.when
    ]
    if not bulk:
        return f"{move.to} tells of no transfer of the table before it. {kept}"
    ago, last = span((move.first.when - bulk[-1].when).total_seconds()), shown(bulk[-1].text)
    return f"The last {move.to} said of the table, {ago} before: {last}. {kept}"


def _is_move(event: Event) -> bool:
    return MASTER in (event.old, event.new)


def _acted(
    move: Move, events: Sequence[Event], node: str, begin: str
) -> Iterator[tuple[datetime, Service]]:
    """From its own part of the move to its next one, by its clock."""
    own = [one.when for one in move.all if one.node == node]
    own += [one.when for one in move.losses if one.node == node]
    start = min(own, default=move.first.when - timedelta(seconds=MATCH_S))
    end = start + timedelta(seconds=SERVICES_S)
    for one in events:
        if one.node != node or one.when < start:
            continue
        if one.when > end or (_is_move(one) and one.when > start + timedelta(seconds=GROUP_S)):
            return
        if one.kind != "service":
            continue
        if one.text.startswith((f"{begin}: ", f"{begin}{FAILED}")):
            said = one.text.removeprefix(begin)
            failed = said.startswith(FAILED)
            text = said.removeprefix(FAILED if failed else ": ")
            yield one.when, Service(node, shown(text), failed)
