"""`carpool states` as a person reads it: how the replication to each peer does, 80 columns.

Room: api. The answer of the states process in, rich renderables out; refuses to ask anybody
anything. It believes no answer: what an older process does not tell shows as `-`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from carpool.api.clean import clean
from carpool.api.render import (
    BAD,
    CALM,
    DIM,
    GOOD,
    WARN,
    Fields,
    duration,
    entries_of,
    fields_of,
    label_of,
    link_of,
    number_of,
    table_of,
    text_of,
    told,
)
from carpool.errors import CarpoolError

UNKNOWN = "-"
BAR_WIDTH = 30
# By counter: what it counts, for whom has to decide whether that is well.
STAYED = {
    "skipped_not_assured": "without traffic both ways: scope is assured",
    "skipped_local": "to or from this node itself",
    "skipped_own_address": "translated to an address that does not move to a peer",
    "skipped_excluded": "excluded in group.toml, by an entry or a mark",
    "skipped_no_master": "expectations whose connection has ended, or is in a zone",
    "skipped_family": "neither IPv4 nor IPv6",
    "skipped_malformed": "not understood: please report it",
    "deletes_not_master": "ends of copies: only the master tells ends",
}
REFUSED = {
    "kept_own": "changes of connections that this master knows better",
    "kept_masters": "entries of a backup, whose place one of the master has",
    "deletes_refused": "deletions, while this node is master",
    "kept_status": "states that are behind what is here",
    "expectations_refused": "expectations whose connection has no helper here",
    "gone_already": "deletions of what was gone already",
    "frames_refused": "frames that no peer may send: the stream was ended",
    "strangers": "connections from addresses that are no peer's",
}
TROUBLE = {
    "overflows": "times that events came faster than they were read: answered by a bulk",
    "streams_lost": "streams that broke",
    "table_restored": "times that the nft table carpool_states had been removed",
    "bulk_errors": "times that the table could not be read: read again",
    "walk_errors": "comparisons that ended early: the kernel's table could not be read",
    "ask_errors": "times that the kernel did not answer a question: answered by a bulk",
    "bulk_restarts": "bulks begun anew, because too much happened meanwhile",
    "sweep_errors": "times that entries or the window check could not be changed",
}
_WINDOW = {
    "on": ("on", GOOD),
    "off": ("off, as on every node that is no master", ""),
    "sweeping": ("off until old connections are told to be liberal", WARN),
}
# What is in the last error of a stream, and what to do about it.
_ADVICE = (
    ("refused us: ", "the peer says why: look at its log, and compare both configurations"),
    ("onnection refused", "is `carpool run states` running on {peer}?"),
    ("no answer within", "is the link up, and does no rule block the stream? ping {address}"),
    ("o route to host", "is the link up, and is {address} the peer's? ping {address}"),
    ("etwork is unreachable", "has this node an address on the link? `carpool check` tells"),
    ("silent for", "the peer or the link hangs: ping {address}, and look at the peer's log"),
    ("version", "run the same version of carpool on all nodes"),
    ("does not read", "the peer is too slow or stopped: look at its load"),
    ("HELLO", "something else answers there, or the peer is busy: look at its log"),
    ("certificate", "`carpool peers` on both nodes tells who is pinned; pair them again"),
)
_ADVICE_ELSE = "it connects again by itself; if not, look at the log of {peer}"


def page(answer: Fields | CarpoolError) -> RenderableType:
    """The whole of `carpool states`."""
    if isinstance(answer, CarpoolError):
        return Group(Text(f"State replication: {label_of(answer)}", BAD), told(answer))
    blocks = [_head(answer)]
    peers = entries_of(answer, "peers")
    if not peers:
        blocks.append(Text("No peer to replicate to", WARN))
    blocks += [_peer(peer, answer) for peer in peers]
    blocks += _counters(answer)
    spaced = [part for block in blocks for part in (block, Text())]
    return Group(*spaced[:-1])


# ------------------------------------------------------------------------------------- node


def _head(answer: Fields) -> RenderableType:
    role = ("master", GOOD) if answer.get("master") else ("no master", CALM)
    parts = [f"{_count(answer, 'entries')} states here", f"scope {_word(answer, 'scope')}"]
    if "uptime_s" in answer:
        parts.append(f"up {duration(number_of(answer, 'uptime_s'))}")
    rows = _rows()
    check = text_of(answer, "window_check")
    rows.add_row("window check", Text(*_WINDOW.get(check, (check or UNKNOWN, ""))))
    hold = answer.get("hold")
    if isinstance(hold, dict):
        on = bool(hold.get("on"))
        word = ("held", WARN) if on else ("free", GOOD)
        rows.add_row("preemption", Text.assemble(word, f": {text_of(hold, 'reason')}"))
    if answer.get("failover") is not None:
        hint = "; no deletions are sent until it is back"
        rows.add_row("failover", Text(f"{text_of(answer, 'failover')}{hint}", WARN))
    title = Text.assemble((_word(answer, "node"), "bold"), ": ", role, "   ", "   ".join(parts))
    return Group(title, Padding(rows, (0, 0, 0, 2)))


def _counters(answer: Fields) -> Iterator[RenderableType]:
    counters = fields_of(answer, "counters")
    stayed = {
        **STAYED,
        **_others(counters, "skipped_", "left here: "),
        **_others(counters, "without_", "given without: "),
    }
    yield from _block("Not given to peers", counters, stayed)
    reduced = _others(counters, "taken_without_", "taken without: ")
    yield from _block("Not taken from peers", counters, {**REFUSED, **reduced})
    errors = {
        **_others(counters, "error_", "entries that the kernel refused: "),
        **_others(counters, "stream_", "streams that ended for: "),
    }
    yield from _block("Trouble", counters, {**TROUBLE, **errors}, BAD)


def _others(counters: Fields, prefix: str, meaning: str) -> dict[str, str]:
    """Counters that are named after their cause."""
    names = sorted(name for name in counters if name.startswith(prefix) and name not in STAYED)
    return {name: meaning + clean(name.removeprefix(prefix)) for name in names}


def _block(
    title: str, counters: Fields, meanings: Mapping[str, str], style: str = ""
) -> Iterator[RenderableType]:
    """Those that are not zero."""
    rows = table_of("", "", right=(0,))
    rows.show_header = False
    for name, meaning in meanings.items():
        if count := number_of(counters, name):
            rows.add_row(Text(f"{count:,.0f}", style), meaning)
    if rows.row_count:
        yield Group(Text(title, "bold"), Padding(rows, (0, 0, 0, 2)))


# ------------------------------------------------------------------------------------- peer


def _peer(peer: Fields, answer: Fields) -> RenderableType:
    title = Text.assemble((text_of(peer, "name"), "bold"), f"  {text_of(peer, 'address')}  ")
    title.append_text(link_of(peer))
    encryption = text_of(peer, "encryption") or text_of(answer, "encryption")
    if encryption:
        title.append("  not encrypted" if encryption == "none" else f"  {encryption}", style=DIM)
    rows = _rows()
    sizes = [f"{_count(answer, 'entries')} here", f"{_count(peer, 'entries')} there"]
    sizes += [f"room for {_count(peer, 'entries_max')}"] if peer.get("entries_max") else []
    rows.add_row("entries", ", ".join(sizes))
    rows.add_row("sent", _traffic(peer, "sent"))
    rows.add_row("received", _traffic(peer, "received"))
    errors = number_of(peer, "errors")
    refused = Text(f"{errors:,.0f} refused by the kernel", BAD if errors else DIM)
    rows.add_row("", Text.assemble(f"{_count(peer, 'injected')} in place, ", refused))
    rows.add_row("waiting", _bytes(peer, "queued_bytes"))
    rows.add_row("lag", _lag(fields_of(peer, "lag")))
    rows.add_row("bulk", _bulk(peer))
    last = fields_of(peer, "last_bulk")
    if last:
        took = f"{_count(last, 'entries')} entries in {duration(number_of(last, 'duration_s'))}"
        rows.add_row("", f"last: {took}, {duration(number_of(last, 'ago_s'))} ago")
    rows.add_row("drift", _drift(peer))
    if peer.get("last_error") is not None:
        rows.add_row("last error", Text(text_of(peer, "last_error"), WARN))
        rows.add_row("", _advice(peer, connected=bool(peer.get("connected"))))
    return Group(title, Padding(rows, (0, 0, 0, 2)))


def _traffic(peer: Fields, way: str) -> str:
    rate = peer.get(f"{way}_per_s")
    per_s = f"{number_of(peer, f'{way}_per_s'):,.1f}/s" if rate is not None else f"{UNKNOWN}/s"
    return f"{per_s}   {_count(peer, way)} requests   {_bytes(peer, f'bytes_{way}')}"


def _lag(lag: Fields) -> str:
    samples = lag.get("samples")
    if not samples or lag.get("p50_ms") is None:
        return UNKNOWN
    p50_ms, p99_ms = (number_of(lag, key) for key in ("p50_ms", "p99_ms"))
    return (
        f"p50 {p50_ms:.3g} ms, p99 {p99_ms:.3g} ms from event to acknowledged"
        f" ({number_of(lag, 'samples'):,.0f} samples)"
    )


def _bulk(peer: Fields) -> RenderableType:
    """The word; with a bar while one is under way."""
    word, done, total = _word(peer, "bulk"), peer.get("bulk_done"), number_of(peer, "bulk_total")
    if word not in ("sending", "receiving") or done is None:
        return Text(word, GOOD if word == "complete" else "")
    row = Table.grid(padding=(0, 2, 0, 0))
    if total:
        shown = min(number_of(peer, "bulk_done"), total)
        bar = ProgressBar(total=total, completed=shown, width=BAR_WIDTH)
        row.add_row(word, bar, f"{shown / total:.0%} of {total:,.0f}")
    else:
        row.add_row(word, f"{number_of(peer, 'bulk_done'):,.0f}")
    return row


def _drift(peer: Fields) -> Text:
    drift = fields_of(peer, "drift")
    if not drift:
        return Text(UNKNOWN)
    ago = f"{duration(number_of(drift, 'ago_s'))} ago"
    kinds = {key: number_of(drift, key) for key in ("missing", "extra", "different")}
    found = ", ".join(f"{count:,.0f} {key}" for key, count in kinds.items() if count)
    return Text(f"{found}, found {ago}", WARN) if found else Text(f"none, {ago}", GOOD)


def _advice(peer: Fields, *, connected: bool) -> Text:
    if connected:
        return Text("that is past: the stream is up", DIM)
    error = text_of(peer, "last_error")
    advice = next((advice for part, advice in _ADVICE if part in error), _ADVICE_ELSE)
    names = {"peer": text_of(peer, "name"), "address": text_of(peer, "address")}
    return Text(advice.format(**names))


# ------------------------------------------------------------------------------------ parts


def _rows() -> Table:
    rows = table_of("", "")
    rows.show_header = False
    rows.columns[0].style = DIM
    return rows


def _word(fields: Fields, key: str) -> str:
    return text_of(fields, key) or UNKNOWN


def _count(fields: Fields, key: str) -> str:
    return f"{number_of(fields, key):,.0f}" if isinstance(fields.get(key), int) else UNKNOWN


def _bytes(fields: Fields, key: str) -> str:
    """With a decimal unit: `0 B`, `12.3 kB`, `4.0 GB`."""
    if not isinstance(fields.get(key), int):
        return f"{UNKNOWN} B"
    size = number_of(fields, key)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"
