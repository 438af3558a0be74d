"""What happened on all nodes, as one list: merged, filtered, newest first.

Room: web. Pure: what `GET /v1/events` of each node answered in, rows out. Nodes are put in order by
their wall clocks: two that differ tell it in a wrong order, which `carpool doctor` finds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from carpool.api.render import entries_of, text_of

Fields = Mapping[str, object]
MASTER = "MASTER"
# What can be asked for, and the kinds of events that it is; failovers: `Event.is_failover`.
KINDS: dict[str, tuple[str, ...]] = {
    "failovers": (),
    "transitions": ("transition",),
    "demotion": ("demotion", "check", "send", "stall"),
    "operator": ("web", "switchover"),
    "replication": ("bulk", "states"),
    "configuration": ("group", "service"),
    "trouble": ("trouble", "kernel", "conflict"),
    "hooks": ("hook",),
    "alerts": ("alert",),
}
NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Event:
    when: datetime  # UTC
    node: str
    kind: str
    vip: str
    old: str
    new: str
    text: str

    @property
    def is_failover(self) -> bool:
        """Whether somebody became MASTER."""
        return self.new == MASTER

    @property
    def iso(self) -> str:
        """For `<time datetime>`; "" for an event without a time."""
        return "" if self.when == NEVER else self.when.isoformat(timespec="milliseconds")


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be shown; "" for all."""

    node: str = ""
    kind: str = ""
    text: str = ""

    def __bool__(self) -> bool:
        return bool(self.node or self.kind or self.text)

    def fits(self, event: Event) -> bool:
        if self.node and event.node != self.node:
            return False
        if self.kind == "failovers" and not event.is_failover:
            return False
        kinds = KINDS.get(self.kind, ())
        if kinds and event.kind not in kinds:
            return False
        row = (event.node, event.kind, event.vip, event.old, event.new, event.text)
        return self.text.casefold() in " ".join(row).casefold()


@dataclass(frozen=True, slots=True)
class Day:
    """Events of one day, in the time of this node."""

    date: str
    rows: tuple[tuple[str, Event], ...]  # the time of day, and what happened


def events_of(node: str, answer: Fields) -> list[Event]:
    """Of one node."""
    return [_event(node, row) for row in entries_of(answer, "events")]


def newest(events: Iterable[Event], wish: Wish, limit: int) -> list[Event]:
    """Those that are wanted, newest first. What happened at one time stays in its order."""
    found = sorted(filter(wish.fits, events), key=lambda one: one.when)
    return found[::-1][:limit]


def days(events: Sequence[Event], zone: tzinfo | None = None) -> Iterator[Day]:
    """By day, in `zone` (None: this machine's own)."""
    rows: list[tuple[str, Event]] = []
    date = ""
    for event in events:
        day, time = _local(event, zone)
        if rows and day != date:
            yield Day(date, tuple(rows))
            rows = []
        date = day
        rows.append((time, event))
    if rows:
        yield Day(date, tuple(rows))


def _local(event: Event, zone: tzinfo | None) -> tuple[str, str]:
    if event.when == NEVER:
        return "Without a time", ""
    try:
        local = event.when.astimezone(zone)
    except OverflowError:
        local = event.when
    return f"{local:%A %Y-%m-%d %Z}".strip(), local.time().isoformat("milliseconds")


def _event(node: str, row: Fields) -> Event:
    try:
        when = datetime.fromisoformat(text_of(row, "time"))
        when = when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        when = NEVER
    told = (text_of(row, key) for key in ("kind", "vhost", "old", "new", "text"))
    return Event(when, node, *told)
