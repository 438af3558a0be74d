"""What the processes tell about themselves, as a person reads it: status and events, 80 columns.

Room: api. Answers of the control sockets in, rich renderables out; refuses to ask anybody anything.
It believes no answer: a process of another version may leave a key out or add one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from sys import float_info

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from carpool.api.clean import clean
from carpool.errors import CarpoolError, UnreachableError
from carpool.machine.outdated import lines, outdated, restart
from carpool.model.config import Config
from carpool.model.section import Drift

Fields = Mapping[str, object]

GOOD, CALM, WARN, BAD, DIM = "bold green", "cyan", "bold yellow", "bold red", "dim"
STATE_STYLE = {"MASTER": GOOD, "BACKUP": CALM, "INIT": WARN, "DISABLED": WARN, "DOWN": BAD}
NAMED_MAX = 3  # VHIDs that share a reason are counted, not listed, beyond this many


@dataclass(frozen=True, slots=True)
class Report:
    """Both processes as they answered, and what the files say in case that they did not."""

    failover: Fields | CarpoolError
    states: Fields | CarpoolError | None  # None: [states] is not configured, and nobody answers
    config: Config | None  # None: the files cannot be used
    drift: Mapping[str, Mapping[str, Fields]] | None = None  # by peer and section; None: not told
    schedule: Fields | CarpoolError | None = None  # None: there is none
    agent: CarpoolError | None = None  # why it tells nothing, where there should be one
    waiting: Fields | None = None  # a change of this node's configuration, to be confirmed
    waiting_on: Mapping[str, Fields] = field(default_factory=dict)  # the same by peer
    trouble: Sequence[Text] = ()  # of checks and hooks
    around: Sequence[object] = ()  # troubles that the agent finds around carpool
    installed: str = ""  # version of carpool; "": not known


def status(report: Report) -> RenderableType:
    """The whole of `carpool status`."""
    if isinstance(report.failover, CarpoolError):
        blocks = list(_failover_down(report.failover, report.config))
    else:
        blocks = list(_failover(report.failover))
    answers = [one for one in (report.failover, report.states) if isinstance(one, Mapping)]
    answers.append({"troubles": list(report.around)})
    blocks[1:1] = named("Trouble", _troubles(answers), BAD)
    blocks.append(_states(report.states))
    blocks += named(f"Not the installed carpool {clean(report.installed)}", _outdated(report), WARN)
    if report.drift:
        lines = [_configuration(peer, stands) for peer, stands in report.drift.items() if stands]
        blocks.append(Group(*lines))
    if report.agent is not None:
        text = f"Configuration: agent {label_of(report.agent)}, nothing is synchronised"
        blocks.append(Group(Text(text, BAD), told(report.agent)))
    for peer, waiting in report.waiting_on.items():
        blocks.append(Text(f"{clean(peer)}: {waits_there(waiting)}", WARN))
    if report.waiting is not None:
        blocks.append(_waiting(report.waiting))
    if isinstance(report.schedule, Mapping) or (report.schedule and report.agent is None):
        blocks.append(schedule(report.schedule))
    blocks += named("Checks and hooks", iter(report.trouble), WARN)
    spaced = [part for block in blocks for part in (block, Text())]
    return Group(*spaced[:-1])


# --------------------------------------------------------------------------------- failover


def _failover(answer: Fields) -> Iterator[RenderableType]:
    role = text_of(answer, "role")
    style = STATE_STYLE.get(role, WARN)
    yield Text.assemble(
        (text_of(answer, "node"), "bold"), ": ", (text_of(answer, "summary"), style)
    )
    yield Group(Text("   ".join(_headline(answer))), *_switched_off(answer))
    yield from named("Group is changing", _change_of_group(answer), WARN)
    rows = entries_of(answer, "vhosts")
    devices = {
        text_of(i, "interface"): text_of(i, "device") for i in entries_of(answer, "interfaces")
    }
    table = table_of("STATE", "VHID", "DEVICE", "FOR", "HEARS", "ADDRESSES")
    for row in rows:
        state, interface = text_of(row, "state"), text_of(row, "interface")
        table.add_row(
            Text(state, STATE_STYLE.get(state, WARN)),
            f"{text_of(row, 'vhid')}@{interface}",
            devices.get(interface, ""),
            duration(number_of(row, "since_s")),
            text_of(row, "master").partition(" (")[0] or "-",  # the name alone, where there is one
            "\n".join(words_of(row, "addresses")),
        )
    yield table
    yield from named("Why", _reasons(rows))
    yield from named("Demoted", _demotion(answer), WARN)
    yield from named("Damped", _damped(answer), WARN)
    yield from named("Refused by the kernel", map(Text, words_of(answer, "refused")), WARN)
    yield from named("Watched by BFD", _watched(answer))
    yield from named("Interfaces", _interfaces(answer))


def _troubles(answers: Sequence[Fields]) -> Iterator[Text]:
    """What a person has to mend, or to wait for: what, since when, what to do."""
    for row in (row for answer in answers for row in entries_of(answer, "troubles")):
        since = duration(number_of(row, "since_s"))
        yield Text.assemble((text_of(row, "text"), BAD), f" (for {since})")
        yield Text(f"  {text_of(row, 'hint')}")


def _headline(answer: Fields) -> Iterator[str]:
    yield f"group {text_of(answer, 'group')}"
    base, effective = text_of(answer, "advskew"), text_of(answer, "effective_advskew")
    yield f"advskew {base}" if base == effective else f"advskew {base}, now {effective}"
    yield f"preempt {'on' if answer.get('preempt') else 'off'}"
    if "uptime_s" in answer:
        yield f"up {duration(number_of(answer, 'uptime_s'))}"
    if "version" in answer:
        yield f"carpool {text_of(answer, 'version')}"


def _switched_off(answer: Fields) -> Iterator[Text]:
    """What an operator did on purpose, and how to undo it."""
    if answer.get("maintenance"):
        yield Text("Maintenance mode is on: `carpool maintenance off` ends it", WARN)
    if answer.get("enabled") is False:
        yield Text("CARP is disabled until a restart: `carpool enable` ends it", WARN)


def _outdated(report: Report) -> Iterator[Text]:
    """An upgrade leaves failover alone where it is MASTER."""
    told = {"failover": report.failover, "states": report.states}
    answers = {name: one for name, one in told.items() if isinstance(one, Mapping)}
    versions = {name: text_of(one, "version") for name, one in answers.items()}
    rows = entries_of(answers.get("failover", {}), "vhosts")
    master = any(row.get("state") == "MASTER" for row in rows)
    for name, version in outdated(versions, report.installed).items() if report.installed else ():
        yield Text(f"{name} runs carpool {version}; to end that:")
        yield Text("\n".join(f"  {line}" for line in lines(restart(name, master=master))))


def _change_of_group(answer: Fields) -> Iterator[Text]:
    """What peers may not have yet, and what ends that."""
    change = answer.get("change")
    if not isinstance(change, dict):
        return
    changes = words_of(change, "changes")
    yield from map(Text, changes)
    since = duration(number_of(change, "since_s"))
    if change.get("confirm_left_s") is not None:
        left = duration(number_of(change, "confirm_left_s"))
        yield Text(f"put back in {left}, unless `carpool confirm` is said", WARN)
        if not changes:  # nothing of it is failover's
            return
    yield Text(f"for {since}; what was before counts, too, until `carpool sync` is through")


def _reasons(rows: Sequence[Fields]) -> Iterator[Text]:
    """Why each VHID is in its state, those with the same reason together."""
    vhids: dict[str, list[str]] = {}
    for row in rows:
        vhid = f"{text_of(row, 'vhid')}@{text_of(row, 'interface')}"
        vhids.setdefault(text_of(row, "reason"), []).append(vhid)
    for reason, names in vhids.items():
        yield Text.assemble(", ".join(_counted(names)), ": ", reason)


def _counted(names: list[str]) -> list[str]:
    if len(names) <= NAMED_MAX:
        return names
    return [*names[:NAMED_MAX], f"{len(names) - NAMED_MAX} more"]


def _demotion(answer: Fields) -> Iterator[Text]:
    for row in entries_of(answer, "demotion"):
        said = f": {text_of(row, 'text')}" if text_of(row, "text") else ""
        yield Text(f"by {text_of(row, 'weight')}: {text_of(row, 'reason')}{said}", WARN)


def _damped(answer: Fields) -> Iterator[Text]:
    """What keeps the group from moving, and what ends that."""
    if text := text_of(fields_of(answer, "damping"), "text"):
        yield Text(f"{text}; `carpool undamp` ends that", WARN)


def _watched(answer: Fields) -> Iterator[Text]:
    """Peers by link: after how long they are missed, or why that is left to adverts."""
    for row in entries_of(answer, "bfd"):
        where = f"{text_of(row, 'peer')} on {text_of(row, 'interface')}"
        if row.get("up") is True:
            yield Text(f"{where}: missed after {number_of(row, 'detection_ms'):.0f} ms of silence")
        else:
            why = text_of(row, "error") or f"session is {text_of(row, 'state')}"
            yield Text(f"{where}: {why}", WARN)


def _interfaces(answer: Fields) -> Iterator[Text]:
    rows = entries_of(answer, "interfaces")
    names = {id(row): f"{text_of(row, 'interface')} ({text_of(row, 'device')})" for row in rows}
    ready = [names[id(row)] for row in rows if row.get("ready")]
    if ready:
        yield Text.assemble(", ".join(ready), ": ", ("up", GOOD))
    for row in rows:
        if not row.get("ready"):
            yield Text.assemble(names[id(row)], ": ", (text_of(row, "reason") or "not ready", BAD))


def _failover_down(error: CarpoolError, config: Config | None) -> Iterator[RenderableType]:
    """Without the process, the files tell at least which addresses nobody watches here."""
    node = config.node.name if config is not None else "this node"
    label = label_of(error)
    yield Text.assemble((node, "bold"), ": ", (f"{label}, the failover process tells nothing", BAD))
    yield told(error)
    if config is None:
        yield Text("The configuration cannot be used either: `carpool check` says why", BAD)
        return
    yield Text(f"group {config.group.name}   advskew {config.node.advskew}   as configured:")
    table = table_of("STATE", "VHID", "DEVICE", "ADDRESSES")
    for vip in config.group.vips:
        addresses = "\n".join(str(address) for address in vip.addresses)
        device = config.node.interfaces.get(vip.interface, "")
        table.add_row(Text(label, BAD), str(vip.key), device, addresses)
    yield table


# ----------------------------------------------------------------------------------- states


def _states(answer: Fields | CarpoolError | None) -> RenderableType:
    if answer is None:
        return Text("State replication: not configured ([states] in group.toml)", DIM)
    if isinstance(answer, CarpoolError):
        return Group(Text(f"State replication: {label_of(answer)}", BAD), told(answer))
    entries = answer.get("entries")
    text = Text("State replication: ")
    text.append(f"{entries:,} states here" if isinstance(entries, int) else "running", CALM)
    if "uptime_s" in answer:
        text.append(f"   up {duration(number_of(answer, 'uptime_s'))}")
    if answer.get("encryption") == "none":
        text.append("   NOT encrypted", WARN)
    elif "encryption" in answer:
        text.append("   encrypted")
    peers = entries_of(answer, "peers")
    if not peers:
        return Group(text, Text("No peer to replicate to", WARN))
    table = table_of(
        "PEER", "LINK", "SENT", "RECEIVED", "INJECTED", "ERRORS", "BULK", right=range(2, 6)
    )
    for peer in peers:
        errors = number_of(peer, "errors")
        table.add_row(
            text_of(peer, "name"),
            link_of(peer),
            *(f"{number_of(peer, key):,.0f}" for key in ("sent", "received", "injected")),
            Text(f"{errors:,.0f}", BAD if errors else ""),
            text_of(peer, "bulk"),
        )
    return Group(text, table, *_last_errors(peers))


def link_of(peer: Fields) -> Text:
    since = duration(number_of(peer, "since_s"))
    if peer.get("connected"):
        return Text(f"up {since}", GOOD)
    return Text(f"down {since}", BAD)


def _last_errors(peers: Sequence[Fields]) -> Iterator[Text]:
    for peer in peers:
        if peer.get("last_error") is not None:
            yield Text(f"{text_of(peer, 'name')}: last error: {text_of(peer, 'last_error')}", WARN)


# ---------------------------------------------------------------------------- configuration


def _configuration(peer: str, stands: Mapping[str, Fields]) -> Text:
    """How that of one peer stands: sections of which the same is to be said together."""
    names: dict[str, list[str]] = {}
    for name, row in stands.items():
        if text_of(row, "drift") != Drift.IN_SYNC:
            why = f" ({text_of(row, 'why')})" if text_of(row, "why") else ""
            names.setdefault(stand(row) + why, []).append(clean(name))
    if not names:
        return Text.assemble("Configuration: ", (f"in sync with {clean(peer)}", GOOD))
    told_ = "; ".join(f"{', '.join(_counted(some))}: {what}" for what, some in names.items())
    known = any(
        text_of(row, "drift") not in (Drift.IN_SYNC, Drift.UNKNOWN) for row in stands.values()
    )
    how = "not in sync with" if known else "may differ on"
    return Text.assemble("Configuration: ", (f"{how} {clean(peer)}: {told_}", WARN))


def _waiting(answer: Fields) -> Text:
    what = f"{text_of(answer, 'what')} of {text_of(answer, 'by')}"
    left = duration(number_of(answer, "left_s"))
    return Text(f"{what} waits: put back in {left}, unless `carpool confirm` is said", WARN)


def waits_there(row: Fields, zone: tzinfo | None = None) -> str:
    """What waits to be confirmed on another node, and until when."""
    date, time = moment(text_of(row, "until"), zone)
    when, left = f"{date[:10]} {time[:8]}".strip(), duration(number_of(row, "left_s"))
    return (
        f"{text_of(row, 'what')} of {text_of(row, 'by')} waits there to be confirmed, until {when} "
        f"(in {left}): `carpool confirm`, or `carpool rollback --pending`"
    )


def stand(row: Fields, zone: tzinfo | None = None) -> str:
    """How a section stands, and since when."""
    date, time = moment(text_of(row, "since"), zone)
    since = f" since {date[:10]} {time[:5]}" if date else ""
    return f"{text_of(row, 'drift')}{since}"


def schedule(answer: Fields | CarpoolError, zone: tzinfo | None = None) -> RenderableType:
    """When it synchronises by itself, and how the last time went; times in `zone` (None: the
    machine's own)."""
    if isinstance(answer, CarpoolError):
        return Group(Text("Schedule: nothing is synchronised by itself", BAD), told(answer))
    try:
        when = datetime.fromtimestamp(number_of(answer, "next_unix_s"), zone or UTC)
        local = when.astimezone(zone)
    except (ValueError, OverflowError, OSError):
        local = None
    line = Text(f"Schedule: {text_of(answer, 'expression')}, ")
    if answer.get("next_unix_s") is None or local is None:
        line.append("never comes again", WARN)
    else:
        line.append(f"next {local:%a %Y-%m-%d %H:%M}")
        if jitter_s := number_of(answer, "jitter_s"):
            line.append(f" (+ up to {duration(jitter_s)})")
    ago = duration(number_of(answer, "ago_s"))
    state, why = text_of(answer, "state"), text_of(answer, "why")
    words, style = {
        "none": ("was not due yet", DIM),
        "standby": ("is the primary's business", DIM),
        "ok": (f"succeeded {ago} ago", GOOD),
        "failed": (f"failed {ago} ago: {why}", WARN),
        "missed": (f"missed {ago} ago: {why}", WARN),
    }.get(state, (state, WARN))
    if answer.get("running"):
        line.append("; runs now", CALM)
    return line.append("; ").append(words, style)


# ----------------------------------------------------------------------------------- events


def events(answer: Fields, zone: tzinfo | None = None) -> RenderableType:
    """The whole of `carpool events`: oldest first, times in `zone` (None: the machine's own)."""
    rows = entries_of(answer, "events")
    if not rows:
        return Text("No events yet")
    table = table_of("TIME", "VHID", "WHAT", "WHY")
    day = ""
    for row in rows:
        date, time = moment(text_of(row, "time"), zone)
        if date != day:
            day = date
            table.add_row(Text(date, "bold"))
        table.add_row(time, text_of(row, "vhost"), _change(row), text_of(row, "text"))
    return table


def _change(row: Fields) -> Text:
    old, new = text_of(row, "old"), text_of(row, "new")
    if not new:
        return Text(text_of(row, "kind"), DIM)
    return Text.assemble(old, " -> ", (new, STATE_STYLE.get(new, WARN)))


def moment(time: str, zone: tzinfo | None) -> tuple[str, str]:
    """Date and time of day in `zone`, with milliseconds."""
    try:
        local = datetime.fromisoformat(time).astimezone(zone)
    except (ValueError, OverflowError):
        return "", time
    return f"{local:%Y-%m-%d %Z}".strip(), local.time().isoformat("milliseconds")


def brief_moment(time: str, zone: tzinfo | None) -> str:
    """Month, day and time of day, for a table of what was not long ago."""
    date, time = moment(time, zone)
    return f"{date[5:10]} {time[:8]}".strip()


# ------------------------------------------------------------------------------------ parts


def duration(seconds: float) -> str:
    """Two units at most: `3.2 s`, `45 s`, `12 min`, `3 h 12 min`, `5 d 3 h`; `?` for none."""
    if not 0 <= seconds < 1e10:
        return "?"
    whole = int(seconds)
    if whole < 10:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def table_of(*headings: str, right: Sequence[int] = (), whole: Sequence[int] = ()) -> Table:
    """`right`: columns that end there; `whole`: those whose words stay in one line."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style=DIM)
    for index, heading in enumerate(headings):
        table.add_column(
            heading,
            justify="right" if index in right else "left",
            overflow="fold",
            no_wrap=index in whole,
        )
    return table


def named(heading: str, lines: Iterator[Text], style: str = "bold") -> Iterator[RenderableType]:
    """A block with a heading, or nothing when it has no lines."""
    block = list(lines)
    if block:
        yield Group(Text(heading, style), *(indented(line) for line in block))


def label_of(error: CarpoolError) -> str:
    return "DOWN" if isinstance(error, UnreachableError) else "UNKNOWN"


def told(error: CarpoolError) -> RenderableType:
    return indented(Text(f"{clean(error.message)}\n{clean(error.hint)}"))


def indented(text: Text) -> Padding:
    return Padding(text, (0, 0, 0, 2), expand=False)


def text_of(fields: Fields, key: str) -> str:
    value = fields.get(key)
    return "" if value is None else clean(str(value))


def number_of(fields: Fields, key: str) -> float:
    """0 for what is no number, or none that can be counted with: JSON of Python knows NaN."""
    value = fields.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return 0
    return value if abs(value) <= float_info.max else 0


def words_of(fields: Fields, key: str) -> list[str]:
    value = fields.get(key)
    return [clean(str(word)) for word in value] if isinstance(value, list) else []


def fields_of(fields: Fields, key: str) -> Fields:
    value = fields.get(key)
    return value if isinstance(value, dict) else {}


def entries_of(fields: Fields, key: str) -> list[Fields]:
    value = fields.get(key)
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
