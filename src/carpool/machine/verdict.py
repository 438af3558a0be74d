"""Whether the group would survive a failure of a node right now, and if not, why not.

Room: machine. Pure: what each node says of itself in, one sentence and its reasons out. It believes
no answer: a node of another version may leave a key out or add one, and texts may be hostile:
whoever shows them cleans them.

Rule 1: what a node said before it fell silent counts for nothing.
Rule 2: a node is ready for a VIP as BACKUP of it. Demoted, or in maintenance mode, it is ready
        still: it takes over when nobody else is there.
Rule 3: nodes are asked one after the other, so that a switchover shows two masters, or a VIP here
        and a VIP there, for a moment: only what lasts SETTLED_S is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from carpool.machine.demotion import MAINTENANCE, link_down
from carpool.machine.groupfiles import behind
from carpool.machine.outdated import outdated, restart

Fields = Mapping[str, object]

SETTLED_S = 3.0
FULL = 0.9  # of the table of connections: from here on a burst may find no room
TRUE_AFTER_S = 5.0  # of a trouble: before it may be over by itself (model.status.Trouble)


class Level(StrEnum):
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"


class Kind(IntEnum):
    """What a reason comes to; the worst first."""

    DOWN = 0  # addresses that nobody serves
    TORN = 1  # addresses that two nodes serve
    ALONE = 2  # nobody could take over
    UNSURE = 3  # nobody knows whether somebody could
    LOSSY = 4  # somebody could, without the connections
    WORSE = 5  # somebody could, but less surely
    ODD = 6  # something to look at

    @property
    def level(self) -> Level:
        return Level.BAD if self <= Kind.ALONE else Level.WARN


@dataclass(frozen=True, slots=True)
class Reason:
    kind: Kind
    text: str
    hint: str = ""  # what to do next


@dataclass(frozen=True, slots=True)
class Verdict:
    level: Level
    sentence: str
    reasons: tuple[Reason, ...]  # in order of weight


@dataclass(slots=True)
class _Node:
    """What of an answer is to be judged; without `answers`, only the name."""

    name: str
    error: str
    hint: str
    version: str
    failover: Fields
    states: Fields | None  # None: not configured, or not told
    troubles: list[Fields]
    alert_targets: object = None  # how many it tells of a failover
    vips: dict[str, Fields] = field(default_factory=dict)  # by `51@lan`

    @property
    def answers(self) -> bool:
        return not self.error

    @property
    def as_told(self) -> Fields:
        return {"name": self.name, "error": self.error, "failover": self.failover}

    @property
    def is_told(self) -> bool:
        """Whether its failover process tells anything."""
        return self.answers and not is_error(self.failover)

    def state(self, vip: str) -> str:
        return _text(self.vips.get(vip, {}), "state")

    def is_settled(self, vip: str) -> bool:
        return _number(self.vips.get(vip, {}), "since_s") >= SETTLED_S


def judge(nodes: Sequence[Fields]) -> Verdict:
    """Of the `nodes` that GET /v1/nodes answers."""
    group = [_node(each) for each in nodes]
    reasons = [*_served(group), *_ready(group), *_connections(group), *_worse(group), *_odd(group)]
    reasons = list(dict.fromkeys(reasons))
    reasons.sort(key=lambda reason: reason.kind)
    level = reasons[0].kind.level if reasons else Level.GOOD
    return Verdict(level, _sentence(group, reasons), tuple(reasons))


def is_error(answer: object) -> bool:
    """Whether a process told nothing of itself."""
    return not isinstance(answer, Mapping) or "error" in answer or "vhosts" not in answer


def vip_of(row: Fields) -> str:
    """`51@lan`."""
    return f"{_text(row, 'vhid')}@{_text(row, 'interface')}"


# ---------------------------------------------------------------------------------- sentence


def _sentence(group: list[_Node], reasons: list[Reason]) -> str:
    gateways = _names(sorted(_masters(group)))
    if not reasons:
        others = [node.name for node in group if node.is_told and node.name not in _masters(group)]
        who = f"{_names(others, 'or')} takes over" if others else "the others take over"
        replicated = any(node.states is not None for node in group)
        what = "with all connections" if replicated else "without connections: none are replicated"
        return f"The group would survive a failure of {gateways} now: {who} {what}."
    worst, text = reasons[0].kind, reasons[0].text
    of = f" of {gateways}" if gateways else ""
    return {
        Kind.DOWN: f"The group is not in service: {text}.",
        Kind.TORN: f"The group is torn apart: {text}.",
        Kind.ALONE: f"The group would not survive a failure{of} now: {text}.",
        Kind.UNSURE: f"Nobody knows whether the group would survive a failure{of} now: {text}.",
        Kind.LOSSY: f"The group would survive a failure{of} now, but its connections might not:"
        f" {text}.",
    }.get(worst, f"The group would survive a failure{of} now, but look at this: {text}.")


def _masters(group: list[_Node]) -> set[str]:
    """By what they say themselves, and by whom others hear."""
    own = {node.name for node in group for vip in node.vips if node.state(vip) == "MASTER"}
    return own | {name for node in group for vip in node.vips if (name := _heard(node, vip, group))}


def _heard(node: _Node, vip: str, group: list[_Node]) -> str:
    """The silent node that this BACKUP hears as MASTER: its name, or address."""
    heard = _whom(node, vip, group)
    if not heard or any(one.name == heard and one.is_told for one in group):
        return ""
    return heard


def _whom(node: _Node, vip: str, group: list[_Node]) -> str:
    """Whom this BACKUP hears as MASTER. An address that no [peer.NAME] of it has is that of the
    only node that says it is: where each knows the other by the sync link alone, all are such."""
    if node.state(vip) != "BACKUP":
        return ""
    heard, _, address = _text(node.vips[vip], "master").partition(" (")
    own = [one.name for one in group if one.state(vip) == "MASTER"]
    return own[0] if heard and not address and len(own) == 1 else heard


# ----------------------------------------------------------------------------------- service


def _vips(group: list[_Node]) -> list[str]:
    return list(dict.fromkeys(vip for node in group for vip in node.vips))


def _served(group: list[_Node]) -> Iterator[Reason]:
    """VIPs that nobody serves, or two."""
    vips = _vips(group)
    if not vips:
        yield Reason(Kind.DOWN, "no node tells who is MASTER", "`carpool status` on each node")
    orphans = [vip for vip in vips if not _holders(vip, group)]
    if orphans:
        hint = "an election takes 3 s; after that, `carpool events` on each node tells why"
        yield Reason(Kind.DOWN, f"nobody is MASTER of {_names(orphans)}", hint)
    torn: dict[str, list[str]] = {}
    split: dict[str, list[str]] = {}
    for vip in vips:
        own = [node for node in group if node.state(vip) == "MASTER" and node.is_settled(vip)]
        if len(own) > 1:
            torn.setdefault(_names([node.name for node in own]), []).append(vip)
        elif own:
            split.setdefault(own[0].name, []).append(vip)
    for names, shared in torn.items():
        text = f"{names} are MASTER of {_names(shared)} at the same time"
        yield Reason(Kind.TORN, text, _why_torn(shared, vips))
    if len(split) > 1:
        text = "; ".join(f"{name} is MASTER of {_names(own)} only" for name, own in split.items())
        yield Reason(Kind.WORSE, text, "what passes through both has no way: see `carpool events`")


def _why_torn(shared: list[str], vips: list[str]) -> str:
    """On all links it is the nodes that are apart; on one alone, its multicast. Both say so of
    themselves, so they reach each other by some way."""
    links = {vip.partition("@")[2] for vip in shared}
    if not {vip.partition("@")[2] for vip in vips} - links:
        return "they do not hear each other there: is the link cut?"
    where = _names(sorted(links))
    return (
        f"on other links they hear each other: on {where} alone adverts get lost. Is it cut, or "
        "does a switch there snoop on IGMP or MLD? `transport = unicast` needs no multicast"
    )


def _holders(vip: str, group: list[_Node]) -> set[str]:
    own = {node.name for node in group if node.state(vip) == "MASTER"}
    return own | {heard for node in group if (heard := _whom(node, vip, group))}


def _ready(group: list[_Node]) -> Iterator[Reason]:
    """What keeps nodes from taking over: it weighs more where no other one could."""
    vips = _vips(group)
    alone = {vip for vip in vips if not any(node.state(vip) == "BACKUP" for node in group)}
    if len(group) == 1:
        hint = "`carpool pair` makes a second node one of the group"
        yield Reason(Kind.ALONE, f"{group[0].name} is the only node", hint)
    for node in group:
        if not node.answers:
            yield _silent(node, alone, group)
        elif is_error(node.failover):
            text = f"the failover process of {node.name} does not answer"
            told = _text(node.failover, "hint") or _text(node.failover, "error")
            yield Reason(_if(alone), text, told or "`carpool status` there tells more")
        elif node.failover.get("enabled") is False:
            text = f"CARP is disabled on {node.name}"
            yield Reason(_if(alone), text, f"`carpool enable` on {node.name} ends it")
        else:
            yield from _missing(node, vips, alone)


def _silent(node: _Node, alone: set[str], group: list[_Node]) -> Reason:
    """Its agent tells nothing; its other processes may be heard."""
    detail = f"{node.error}; {node.hint}".strip("; ")
    if node.name in _masters(group):
        text = f"{node.name} is heard as MASTER, but its agent does not answer"
        return Reason(_if(alone), text, detail)
    streams = (row for one in group if one.answers for row in _rows(one.states or {}, "peers"))
    if any(_text(row, "name") == node.name and row.get("connected") is True for row in streams):
        text = f"the agent of {node.name} does not answer, though its state replication does"
        return Reason(Kind.UNSURE if alone else Kind.WORSE, text, detail)
    return Reason(_if(alone), f"{node.name} does not answer", detail)


def _if(alone: set[str]) -> Kind:
    return Kind.ALONE if alone else Kind.WORSE


def _missing(node: _Node, vips: list[str], alone: set[str]) -> Iterator[Reason]:
    """VIPs that it does not take part in, by their links."""
    down = {_text(row, "interface"): row for row in _links(node) if not row.get("ready")}
    lost = [vip for vip in vips if node.state(vip) not in ("MASTER", "BACKUP")]
    unknown = [vip for vip in lost if vip not in node.vips]
    if unknown:
        text = f"{node.name} does not know {_names(unknown)}"
        leads = any(row.get("state") == "MASTER" for row in node.vips.values())
        hint = "`carpool sync` brings it the group's VIPs"
        if leads:  # who is MASTER is sent nothing
            hint = f"`carpool pull` on {node.name} takes them over from who has them"
        yield Reason(_if(alone & set(unknown)), text, hint)
    for name, row in down.items():
        on_it = {vip for vip in lost if vip.partition("@")[2] == name}
        why = _text(row, "reason")
        text = f"{name} is down on {node.name}" + (f" ({why})" if why not in ("", "down") else "")
        hint = "look at its cable, switch and driver; it is taken up again by itself"
        yield Reason(_if(alone & on_it), text, hint)
    for vip in lost:
        if vip in node.vips and vip.partition("@")[2] not in down:
            text = f"{node.name} is {node.state(vip) or 'in no state'} for {vip}"
            yield Reason(_if(alone & {vip}), text, _text(node.vips[vip], "reason"))


# ------------------------------------------------------------------------------- connections


def _connections(group: list[_Node]) -> Iterator[Reason]:
    """What keeps the nodes from having each other's connections."""
    if all(node.states is None for node in group):
        return
    for node in group:
        if not node.is_told:
            continue
        if node.states is None or "error" in node.states:
            text = f"the states process of {node.name} does not answer"
            hint = _text(node.states or {}, "hint") or _text(node.states or {}, "error")
            yield Reason(Kind.LOSSY, text, hint or "is [states] in its group.toml?")
            continue
        yield from _streams(node, node.states, {one.name for one in group if one.answers})


def _streams(node: _Node, states: Fields, answering: set[str]) -> Iterator[Reason]:
    """Of one node with each peer; who is silent is told already."""
    whole = True
    for peer in _rows(states, "peers"):
        name = _text(peer, "name")
        if name not in answering:
            whole = False
        elif peer.get("connected") is False:
            whole = False
            both = _names(sorted((node.name, name)))
            hint = _text(peer, "last_error") or "`carpool states` tells more"
            yield Reason(Kind.LOSSY, f"no stream of states between {both}", hint)
        elif "bulk" in peer and _text(peer, "bulk") != "complete":
            whole = False
            text = f"{node.name} and {name} do not have all connections of each other yet"
            yield Reason(Kind.LOSSY, text, "that takes seconds; `carpool states --watch` shows it")
    hold = states.get("hold")
    if whole and isinstance(hold, Mapping) and hold.get("on"):
        text = f"{node.name} does not have all connections: {_text(hold, 'reason')}"
        yield Reason(Kind.LOSSY, text, "`carpool states --watch` on it shows how far it is")
    room = _number(states, "entries_max")
    if room and _number(states, "entries") >= FULL * room:
        text = f"the table of connections of {node.name} is nearly full"
        yield Reason(Kind.LOSSY, text, "raise net.netfilter.nf_conntrack_max on all nodes")


# ------------------------------------------------------------------------------------ others


def _worse(group: list[_Node]) -> Iterator[Reason]:
    """Demoted nodes: they take over if nobody better is there."""
    for node in group:
        if not node.is_told:
            continue
        rows = _rows(node.failover, "demotion")
        if node.failover.get("maintenance"):
            why = next((said for row in rows if (said := _said(row, MAINTENANCE))), "")
            text = f"{node.name} is in maintenance mode" + (f" ({why})" if why else "")
            yield Reason(Kind.WORSE, text, f"`carpool maintenance off` on {node.name} ends it")
        told = {MAINTENANCE, *(link_down(_text(row, "interface")) for row in _links(node))}
        for row in rows:
            reason, said = _text(row, "reason"), _text(row, "text")
            if reason not in told:
                text = f"{node.name} is demoted: {reason}" + (f" ({said})" if said else "")
                yield Reason(Kind.WORSE, text, "`carpool events` on it tells more")


def _said(row: Fields, reason: str) -> str:
    """What is told of this reason; of another one, nothing."""
    return _text(row, "text") if _text(row, "reason") == reason else ""


def _odd(group: list[_Node]) -> Iterator[Reason]:
    """Versions, files, and troubles that nothing above has told."""
    answering = [node for node in group if node.answers]
    versions = {node.name: node.version for node in answering if node.version}
    if len(set(versions.values())) > 1:
        text = ", ".join(f"{name} runs carpool {one}" for name, one in versions.items())
        yield Reason(Kind.ODD, text, "upgrade the older one: run the same version on all nodes")
    files = {_text(node.failover, "group_digest") for node in answering if node.is_told} - {""}
    if len(files) > 1:
        yield from _differing(group)
    telling = [node.name for node in answering if node.alert_targets]
    for node in answering if telling else ():
        if node.alert_targets == 0:
            text = f"{node.name} tells nobody of a failover, as {telling[0]} does"
            yield Reason(Kind.ODD, text, f"write /etc/carpool/alerts.toml on {node.name}, too")
    for node in answering:
        yield from _older(node)
        known = {link_down(_text(row, "interface")) for row in _links(node)}
        known |= {f"interface {_text(row, 'interface')}" for row in _links(node)}
        known |= {_text(row, "reason") for row in _rows(node.failover, "demotion")}
        known |= {f"peer {_text(row, 'name')}" for row in _rows(node.states or {}, "peers")}
        for row in (*_troubles(node.failover), *_troubles(node.states), *node.troubles):
            lasts = _number(row, "since_s") >= TRUE_AFTER_S
            if lasts and _text(row, "key") not in known and _text(row, "text"):
                yield Reason(Kind.ODD, f"{node.name}: {_text(row, 'text')}", _text(row, "hint"))


def _differing(group: list[_Node]) -> Iterator[Reason]:
    """Who is behind, where that is known: it takes what is newer over, or is sent it."""
    found = list(behind([one.as_told for one in group]))
    for one in found:
        text = f"configuration differs: {one.older} has an older group.toml than {one.newer}"
        hint = f"on {one.newer}: `carpool diff` shows how, `carpool sync carpool` sends it"
        if one.leads:  # who is MASTER is sent nothing
            hint = f"on {one.older}: `carpool pull {one.newer} carpool` takes the newer one over"
        yield Reason(Kind.ODD, text, hint)
    if not found:
        text = "the nodes go by different group files"
        yield Reason(Kind.ODD, text, "`carpool diff` shows how; `carpool sync` makes them one")


def _older(node: _Node) -> Iterator[Reason]:
    """Processes that an upgrade has not reached."""
    told = {"failover": node.failover, "states": node.states or {}}
    versions = {process: _text(answer, "version") for process, answer in told.items()}
    master = any(node.state(vip) == "MASTER" for vip in node.vips)
    for process, version in outdated(versions, node.version).items() if node.version else ():
        text = f"{process} on {node.name} runs carpool {version}, installed is {node.version}"
        yield Reason(Kind.ODD, text, f"on it: `{restart(process, master=master)}`")


def _troubles(answer: Fields | None) -> list[Fields]:
    return _rows(answer or {}, "troubles")


# ------------------------------------------------------------------------------------- parts


def _node(told: Fields) -> _Node:
    failover, states = told.get("failover"), told.get("states")
    node = _Node(
        name=_text(told, "name"),
        error=_text(told, "error"),
        hint=_text(told, "hint"),
        version=_text(told, "version"),
        failover=failover if isinstance(failover, Mapping) else {},
        states=states if isinstance(states, Mapping) else None,
        troubles=_rows(told, "troubles"),
        alert_targets=told.get("alert_targets"),
    )
    if node.is_told:
        node.vips = {vip_of(row): row for row in _rows(node.failover, "vhosts")}
    return node


def _links(node: _Node) -> list[Fields]:
    return _rows(node.failover, "interfaces")


def _names(names: Sequence[str], word: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {word} {names[-1]}"


def _text(fields: Fields, key: str) -> str:
    value = fields.get(key)
    return "" if value is None else str(value)


def _number(fields: Fields, key: str) -> float:
    value = fields.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0


def _rows(fields: Fields, key: str) -> list[Fields]:
    value = fields.get(key)
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
