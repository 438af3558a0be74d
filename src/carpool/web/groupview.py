"""What the status page shows of a group: from what its nodes say to words, levels and numbers.

Room: web. Pure. It believes no answer: what a node of another version leaves out is not shown, or
shows as `-`; all texts are cleaned here, and escaped by the templates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from carpool.api.clean import clean
from carpool.api.render import (
    Fields,
    duration,
    moment,
    number_of,
)
from carpool.api.render import entries_of as all_entries_of
from carpool.api.render import text_of as _whole
from carpool.api.render import words_of as all_words_of
from carpool.machine.verdict import Level, is_error, judge, vip_of
from carpool.web.picture import Picture, draw, level, role

UNKNOWN = "-"
TEXT_MAX, REASONS_MAX, ENTRIES_MAX = 400, 20, 512  # of what a peer says
WEIGHS = 240  # a reason to be demoted by so much puts a node behind every healthy one


class Badge(NamedTuple):
    word: str
    level: str


class Note(NamedTuple):
    """What is to be known of a node, and what to do about it."""

    level: str
    text: str
    hint: str = ""


class Fact(NamedTuple):
    label: str
    value: str
    differs: bool = False  # from what other nodes have


@dataclass(frozen=True, slots=True)
class Link:
    """An interface of a node."""

    name: str
    device: str
    up: bool
    reason: str
    hears: str  # whom, in words; "": nobody, and nobody is expected


@dataclass(frozen=True, slots=True)
class Stream:
    """State replication of a node with one peer."""

    peer: str
    badge: Badge
    facts: list[Fact]
    error: str  # "": none


@dataclass(frozen=True, slots=True)
class Card:
    """One node."""

    name: str
    here: bool
    role: Badge
    summary: str
    error: str  # why it does not answer; "": it does
    hint: str
    old: str  # how old what is shown is; "": of this second
    told: bool  # whether it ever said anything
    notes: list[Note]
    links: list[Link]
    entries: str
    states: Note | None  # why nothing is known of state replication
    streams: list[Stream]
    facts: list[Fact]

    @property
    def silent(self) -> bool:
        return bool(self.error)


class Cell(NamedTuple):
    """A VIP on one node."""

    badge: Badge
    since: str
    why: str
    hears: str
    old: bool


class Row(NamedTuple):
    """A VIP."""

    vip: str
    addresses: list[str]
    cells: list[Cell]


@dataclass(frozen=True, slots=True)
class GroupView:
    here: str
    group: str
    as_of: str  # this node's clock
    level: Level  # of the verdict
    sentence: str
    reasons: list[Note]
    cards: list[Card]
    rows: list[Row]
    picture: Picture


def view_of(answer: Fields) -> GroupView:
    """Of the answer to GET /v1/nodes."""
    # In the same places on the pages of all nodes: what moves is where one is.
    nodes = sorted(entries_of(answer, "nodes"), key=lambda node: text_of(node, "name"))
    here = next((node for node in nodes if node.get("here")), {})
    day, time = moment(text_of(here, "wall_time"), None)
    verdict = judge(nodes)
    return GroupView(
        here=text_of(answer, "here"),
        group=text_of(answer, "group"),
        as_of=f"{day} {time[:8]}".strip(),
        level=verdict.level,
        sentence=short_of(verdict.sentence),
        reasons=[
            Note(one.kind.level, short_of(one.text), short_of(one.hint))
            for one in verdict.reasons[:REASONS_MAX]
        ],
        cards=[_card(node, nodes) for node in nodes],
        rows=_rows(nodes),
        picture=draw(nodes),
    )


# -------------------------------------------------------------------------------------- card


def _card(node: Fields, nodes: Sequence[Fields]) -> Card:
    failover, error = _part(node, "failover"), text_of(node, "error")
    told = bool(failover)
    return Card(
        name=text_of(node, "name"),
        here=bool(node.get("here")),
        role=Badge(*role(node)),
        summary="" if is_error(failover) else text_of(failover, "summary"),
        error=error,
        hint=text_of(node, "hint"),
        old=_age(node) if error else "",
        told=told,
        notes=list(_notes(node)) if told else [],
        links=list(_links(failover)),
        entries=_entries(_part(node, "states")),
        states=_no_states(node) if told else None,
        streams=[_stream(peer, node) for peer in entries_of(_part(node, "states"), "peers")],
        facts=list(_facts(node, nodes)) if told else [],
    )


def _age(node: Fields) -> str:
    age_s = node.get("age_s")
    return "" if age_s is None else f"{duration(number_of(node, 'age_s'))} ago"


def _notes(node: Fields) -> Iterator[Note]:
    """What an operator did on purpose; why it is demoted; troubles."""
    failover, name = _part(node, "failover"), text_of(node, "name")
    if is_error(failover):
        text = text_of(failover, "error") or "the failover process tells nothing"
        yield Note("bad", text, text_of(failover, "hint"))
    if failover.get("maintenance"):
        hint = f"`carpool maintenance off` on {name} ends it"
        rows = [one for one in entries_of(failover, "demotion") if text_of(one, "text")]
        said = [text_of(one, "text") for one in rows if text_of(one, "reason") == "maintenance"]
        why = f" ({said[0]})" if said else ""
        yield Note("warn", f"Maintenance mode is on{why}: a peer is to be MASTER", hint)
    if failover.get("enabled") is False:
        hint = f"`carpool enable` on {name} ends it, and so does a restart"
        yield Note("warn", "CARP is disabled: it takes part in nothing", hint)
    for row in entries_of(failover, "demotion"):
        if text_of(row, "reason") != "maintenance":
            yield Note("warn", _demoted(row), "")
    change = _part(failover, "change")
    if change:
        what = ", ".join(words_of(change, "changes")) or "the group"
        yield Note("warn", f"The group is changing: {what}", "`carpool sync` ends it")
    for part in (failover, _part(node, "states"), node):
        for row in entries_of(part, "troubles"):
            since = duration(number_of(row, "since_s"))
            yield Note("bad", f"{text_of(row, 'text')} (for {since})", text_of(row, "hint"))


def _demoted(row: Fields) -> str:
    """`demoted: bulk sync, behind every healthy node`."""
    weight, said = number_of(row, "weight"), text_of(row, "text")
    behind = "behind every healthy node" if weight >= WEIGHS else f"advskew + {weight:.0f}"
    return f"Demoted: {text_of(row, 'reason')}{f' ({said})' if said else ''}: {behind}"


def _links(failover: Fields) -> Iterator[Link]:
    for row in entries_of(failover, "interfaces"):
        name = text_of(row, "interface")
        yield Link(
            name=name,
            device=text_of(row, "device"),
            up=bool(row.get("ready")),
            reason=text_of(row, "reason") or "not ready",
            hears=_hears_on(failover, name),
        )


def _hears_on(failover: Fields, interface: str) -> str:
    vhosts = [
        one for one in entries_of(failover, "vhosts") if text_of(one, "interface") == interface
    ]
    heard = list(dict.fromkeys(name for one in vhosts if (name := text_of(one, "master"))))
    if heard:
        return f"hears {', '.join(heard)}"
    if any(one.get("state") == "MASTER" for one in vhosts):
        return "advertises"
    return "hears nobody" if vhosts else ""


# ------------------------------------------------------------------------------- replication


def _no_states(node: Fields) -> Note | None:
    states = node.get("states")
    if states is None:
        return Note("calm", "not configured: [states] in group.toml")
    if not isinstance(states, Mapping) or "error" in states:
        part = _part(node, "states")
        text = text_of(part, "error") or "the states process tells nothing"
        return Note("bad", text, text_of(part, "hint"))
    if not entries_of(states, "peers"):
        return Note("warn", "no peer to replicate to", "`carpool pair` makes one")
    return None


def _entries(states: Fields) -> str:
    """`1,204 of at most 4,194,304`."""
    room = _count(states, "entries_max")
    return _count(states, "entries") + (f" of at most {room}" if room != UNKNOWN else "")


def _stream(peer: Fields, node: Fields) -> Stream:
    since = duration(number_of(peer, "since_s"))
    up = bool(peer.get("connected"))
    states, last = _part(node, "states"), _part(peer, "last_bulk")
    sealed = "not encrypted" if text_of(states, "encryption") == "none" else "encrypted"
    facts = [
        Fact("Entries", f"{_count(states, 'entries')} here, {_count(peer, 'entries')} there"),
        Fact("Rate", f"{_rate(peer, 'sent')} out, {_rate(peer, 'received')} in"),
        Fact("Lag", _lag(_part(peer, "lag"))),
        Fact("Bulk", _bulk(peer)),
    ]
    if last:
        took = f"{_count(last, 'entries')} in {_short(number_of(last, 'duration_s'))}"
        facts.append(Fact("Last bulk", f"{took}, {duration(number_of(last, 'ago_s'))} ago"))
    facts.append(Fact("Compared", _drift(_part(peer, "drift"))))
    if errors := number_of(peer, "errors"):
        facts.append(Fact("Refused", f"{errors:,.0f} by the kernel"))
    return Stream(
        peer=text_of(peer, "name"),
        badge=Badge(f"up {since}, {sealed}", "good") if up else Badge(f"down {since}", "bad"),
        facts=facts,
        error="" if up or peer.get("last_error") is None else text_of(peer, "last_error"),
    )


def _lag(lag: Fields) -> str:
    if not lag.get("samples") or lag.get("p50_ms") is None:
        return "no traffic to measure it"
    p50_ms, p99_ms = number_of(lag, "p50_ms"), number_of(lag, "p99_ms")
    return f"p50 {p50_ms:.3g} ms, p99 {p99_ms:.3g} ms"


def _bulk(peer: Fields) -> str:
    word, total = text_of(peer, "bulk") or UNKNOWN, number_of(peer, "bulk_total")
    if not total or peer.get("bulk_done") is None:
        return word
    return f"{word}, {min(number_of(peer, 'bulk_done'), total) / total:.0%} of {total:,.0f}"


def _drift(drift: Fields) -> str:
    if not drift:
        return "not yet"
    ago = f"{duration(number_of(drift, 'ago_s'))} ago"
    kinds = {key: number_of(drift, key) for key in ("missing", "extra", "different")}
    found = ", ".join(f"{count:,.0f} {key}" for key, count in kinds.items() if count)
    return f"{found or 'no difference'}, {ago}"


def _short(seconds: float) -> str:
    if 0 <= seconds < 0.001:
        return "less than 1 ms"
    return f"{seconds * 1000:.3g} ms" if 0 <= seconds < 1 else duration(seconds)


# ------------------------------------------------------------------------------------- facts


def _facts(node: Fields, nodes: Sequence[Fields]) -> Iterator[Fact]:
    known = [one for one in nodes if text_of(one, "version")]
    for label, key in (("carpool", "version"), ("Kernel", "kernel"), ("System", "system")):
        differs = len({text_of(one, key) for one in known}) > 1
        yield Fact(label, text_of(node, key) or UNKNOWN, differs)
    yield Fact("Up", duration(number_of(node, "uptime_s")))
    failover = _part(node, "failover")
    if "advskew" in failover:
        base, now = text_of(failover, "advskew"), text_of(failover, "effective_advskew")
        preempt = "takes back what is its own" if failover.get("preempt") else "takes nothing back"
        yield Fact("advskew", base if base == now else f"{base}, now {now}")
        yield Fact("Preempt", f"{'on' if failover.get('preempt') else 'off'}: {preempt}")
    if address := text_of(node, "address"):
        yield Fact("Asked at", address)


# -------------------------------------------------------------------------------------- vips


def _rows(nodes: Sequence[Fields]) -> list[Row]:
    """Of every VIP that a node tells of, on each node."""
    by_node = [{vip_of(row): row for row in _vhosts(node)} for node in nodes]
    rows = []
    for vip in dict.fromkeys(vip for vips in by_node for vip in vips):
        found = [vips.get(vip, {}) for vips in by_node]
        addresses = next((words for row in found if (words := words_of(row, "addresses"))), [])
        cells = [_cell(row, node) for row, node in zip(found, nodes, strict=True)]
        rows.append(Row(clean(vip), addresses, cells))
    return rows


def _vhosts(node: Fields) -> list[Fields]:
    return entries_of(_part(node, "failover"), "vhosts")


def _cell(row: Fields, node: Fields) -> Cell:
    old = bool(text_of(node, "error"))
    if not row:
        return Cell(Badge("not told" if old else "unknown there", "warn"), "", "", "", old)
    heard, state = text_of(row, "master"), text_of(row, "state")
    return Cell(
        Badge(state, level(state)),
        duration(number_of(row, "since_s")),
        text_of(row, "reason"),
        heard.partition(" (")[0],
        old,
    )


# ------------------------------------------------------------------------------------- parts


def text_of(fields: Fields, key: str) -> str:
    return short_of(_whole(fields, key))


def entries_of(fields: Fields, key: str) -> list[Fields]:
    return all_entries_of(fields, key)[:ENTRIES_MAX]


def words_of(fields: Fields, key: str) -> list[str]:
    return [short_of(word) for word in all_words_of(fields, key)[:ENTRIES_MAX]]


def short_of(text: str) -> str:
    """For a page: a peer may say anything."""
    return clean(text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}…")


def _part(fields: Fields, key: str) -> Fields:
    value = fields.get(key)
    return value if isinstance(value, Mapping) else {}


def _count(fields: Fields, key: str) -> str:
    return f"{number_of(fields, key):,.0f}" if isinstance(fields.get(key), int) else UNKNOWN


def _rate(peer: Fields, way: str) -> str:
    known = peer.get(f"{way}_per_s") is not None
    return f"{number_of(peer, f'{way}_per_s'):,.1f}/s" if known else UNKNOWN
