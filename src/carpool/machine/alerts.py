"""Which messages there are to send: one for a failover, one when something begins and when it ends.

Room: machine. Pure: told each second what this node is, and now and then how the group is; gives
messages. Refuses to know who gets them, and how.

Rule 1: the node that became MASTER tells of it, once it has all its VIPs, or after WHOLE_S. The old
        master, if it lives, says nothing.
Rule 2: of the group one node tells: the MASTER; of several the first by name. The others follow in
        silence, so that whoever takes over repeats nothing.
Rule 3: what a message about a failover tells, and what follows from it within FOLD_S, is no message
        of its own; its end is.
Rule 4: about the same thing at most `per_hour` messages; the last one says that it is that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from carpool.machine.alertlimit import Limit
from carpool.machine.verdict import Kind, Reason, Verdict
from carpool.model.alerts import AlertKind, Level, Message

MASTER = "MASTER"
WHOLE_S = 5.0  # for VIPs that follow the first one
FOLD_S = 45.0  # after a failover: what is known late of the node that died
OVER_S = 10.0  # what is gone for so long is over
# What lasts so long is told: before, it may be over by itself.
AFTER_S = {
    AlertKind.OUTAGE: 5.0,
    AlertKind.SPLIT_BRAIN: 5.0,
    AlertKind.STANDBY: 20.0,
    AlertKind.REPLICATION: 30.0,
    AlertKind.SYNC: 0.0,
    AlertKind.TROUBLE: 30.0,
}
KINDS = {
    Kind.DOWN: AlertKind.OUTAGE,
    Kind.TORN: AlertKind.SPLIT_BRAIN,
    Kind.ALONE: AlertKind.STANDBY,
    Kind.UNSURE: AlertKind.STANDBY,
    Kind.LOSSY: AlertKind.REPLICATION,
    Kind.WORSE: AlertKind.STANDBY,
    Kind.ODD: AlertKind.TROUBLE,
}
SEVERE = (AlertKind.OUTAGE, AlertKind.SPLIT_BRAIN)
BEGINS = {
    AlertKind.OUTAGE: "addresses are not served",
    AlertKind.SPLIT_BRAIN: "split brain",
    AlertKind.STANDBY: "a failure may not be survived",
    AlertKind.REPLICATION: "connections are not replicated",
    AlertKind.SYNC: "the scheduled synchronisation failed",
    AlertKind.TROUBLE: "trouble",
}
KNOWN_MAX = 200  # things that are followed at once; a hostile peer may tell many
# Numbers that change while the thing stays the same.
_NUMBER = re.compile(r"\b\d[\d,.]*(?= (?:[KMG]iB|bytes|days?|s|entries)\b)|\b\d[\d,.]*(?=%)")


@dataclass(frozen=True, slots=True)
class Vip:
    """Of this node."""

    state: str
    reason: str
    master: str = ""  # who it hears


@dataclass(frozen=True, slots=True)
class View:
    """The group, as this node sees it."""

    verdict: Verdict
    tells: bool  # Rule 2
    maintenance: Mapping[str, str] = field(default_factory=dict)  # nodes in it, and why
    silent: frozenset[str] = frozenset()  # of these nothing is known now
    sync_failed: str = ""  # why, by its schedule


@dataclass(slots=True)
class _Row:
    """Something that holds, or did."""

    kind: AlertKind
    text: str
    hint: str
    since_s: float
    seen_s: float
    told: bool = False
    kept_back: bool = False


@dataclass(frozen=True, slots=True)
class _Gather:
    """A failover to this node, which may not be whole yet."""

    since_s: float
    time: str
    before: tuple[str, ...]  # who was MASTER
    reason: str


class Judge:
    """Of one node. `told`: what was told already, as `memory` had it."""

    def __init__(self, node: str, group: str, told: Sequence[tuple[str, str]] = ()) -> None:
        self._node, self._group = node, group
        self._vips: dict[str, Vip] | None = None  # None: nothing is known yet
        self._gather: _Gather | None = None
        self._folds: tuple[tuple[str, ...], float] = ((), 0.0)  # about whom, until when
        self._rows: dict[str, _Row] = {}
        self._limit = Limit()
        self._maintenance: dict[str, str] = {}
        self._recalled = [(AlertKind(kind), text) for kind, text in told if kind in AFTER_S]

    # ------------------------------------------------------------------------------ failover

    def hear(self, vips: Mapping[str, Vip], time: str, now_s: float) -> None:
        """What this node is at each VIP; nothing when failover does not answer."""
        if not vips:
            return
        before, self._vips = self._vips, dict(vips)
        if before is None:
            return
        taken = [vip for vip, one in vips.items() if one.state == MASTER]
        fresh = [vip for vip in taken if (old := before.get(vip)) and old.state != MASTER]
        if self._gather is not None:
            if not taken:
                self._gather = None  # it came and went: whoever has it now tells
            return
        if fresh and not any(one.state == MASTER for one in before.values()):
            heard = dict.fromkeys(one.master.partition(" (")[0] for one in before.values())
            names = tuple(name for name in heard if name)
            self._gather = _Gather(now_s, time, names, vips[fresh[0]].reason)

    def is_whole(self, now_s: float) -> bool:
        """Whether there is a failover to tell: `failover` does, with a view of this moment."""
        if self._gather is None or self._vips is None:
            return False
        states = {one.state for one in self._vips.values()}
        return not states - {MASTER, "INIT", "DISABLED"} or now_s - self._gather.since_s >= WHOLE_S

    def failover(self, view: View, per_hour: int, now_s: float) -> list[Message]:
        """The message about it, unless there were too many."""
        gather, self._gather = self._gather, None
        assert gather is not None and self._vips is not None
        self._remember(view)
        self._note(view, now_s)
        for row in self._rows.values():  # they are in it
            row.told = True
        self._folds = gather.before, now_s + FOLD_S
        more = self._limit.take("failover", per_hour, now_s)
        if more is None:
            return []
        own = [vip for vip, one in self._vips.items() if one.state == MASTER]
        of = "all" if len(own) == len(self._vips) else f"{len(own)} of"
        lines = [
            f"{self._node} is MASTER of {of} {len(self._vips)} VIPs since {gather.time}.",
            f"Before: {' and '.join(gather.before) or 'nobody that was heard'}.",
            f"Why: {gather.reason}.{_gap(gather.reason)}",
            "",
            view.verdict.sentence,
            *(_line(one.text, one.hint) for one in view.verdict.reasons if not _asked_for(one)),
            *self._spoken(),
        ]
        if len(own) < len(self._vips):
            others = [f"{vip} is {one.state}" for vip, one in self._vips.items() if vip not in own]
            lines.insert(1, f"The others: {', '.join(others)}.")
        title = f"{self._node} became MASTER"
        return [self._message(AlertKind.FAILOVER, Level.WARNING, title, lines, [more])]

    # --------------------------------------------------------------------------------- group

    def look(self, view: View, per_hour: int, now_s: float) -> list[Message]:
        """What began and what ended."""
        self._remember(view)
        self._note(view, now_s)
        found: list[Message] = []
        for kind in AFTER_S:
            begun = [row for row in self._rows.values() if row.kind is kind and _due(row, now_s)]
            ended = [row for row in self._rows.values() if row.kind is kind and _over(row, now_s)]
            found += self._begin(view, kind, begun, per_hour, now_s)
            found += self._end(view, kind, ended, per_hour, now_s)
        self._rows = {key: row for key, row in self._rows.items() if now_s - row.seen_s < OVER_S}
        return found

    def _begin(
        self, view: View, kind: AlertKind, rows: list[_Row], per_hour: int, now_s: float
    ) -> list[Message]:
        rows = [row for row in rows if not self._folded(row, now_s)]
        if not view.tells:
            for row in rows:
                row.told = True
            return []
        told, notes = self._allowed(rows, per_hour, now_s)
        for row in told:
            row.told = True
        if not told:
            return []
        level = Level.FAILURE if kind in SEVERE else Level.WARNING
        lines = [_line(row.text, row.hint) for row in told]
        lines += ["", view.verdict.sentence, *self._spoken()]
        return [self._message(kind, level, BEGINS[kind], lines, notes)]

    def _end(
        self, view: View, kind: AlertKind, rows: list[_Row], per_hour: int, now_s: float
    ) -> list[Message]:
        if not view.tells:
            return []
        told, notes = self._allowed(rows, per_hour, now_s)
        if not told:
            return []
        lines = [f"- over: {row.text}" for row in told]
        lines += ["", view.verdict.sentence, *self._spoken()]
        return [self._message(kind, Level.SUCCESS, f"over: {BEGINS[kind]}", lines, notes)]

    def _allowed(
        self, rows: Iterable[_Row], per_hour: int, now_s: float
    ) -> tuple[list[_Row], list[str]]:
        """Those that may be told, and what is to be said of the limit."""
        told, notes = [], []
        for row in rows:
            key, fresh = _key(row.kind, row.text), not row.kept_back
            more = self._limit.take(key, per_hour, now_s, fresh=fresh)
            row.kept_back = more is None
            if more is not None:
                told.append(row)
                notes.append(more)
        return told, notes

    def _note(self, view: View, now_s: float) -> None:
        """What holds now."""
        holds = [
            *((KINDS[one.kind], one) for one in view.verdict.reasons if not _asked_for(one)),
            *([(AlertKind.SYNC, Reason(Kind.ODD, view.sync_failed))] if view.sync_failed else []),
        ]
        for kind, reason in holds[:KNOWN_MAX]:
            key = _key(kind, reason.text)
            row = self._rows.get(key)
            if row is None:
                row = self._rows[key] = _Row(kind, reason.text, reason.hint, now_s, now_s)
            row.text, row.hint, row.seen_s = reason.text, reason.hint, now_s
        for kind, text in self._recalled:  # of an agent before this one
            key = _key(kind, text)
            row = self._rows.setdefault(key, _Row(kind, text, "", now_s, now_s))
            row.told, row.since_s = True, now_s - AFTER_S[kind]
        self._recalled = []

    def _folded(self, row: _Row, now_s: float) -> bool:
        """Whether it follows from the failover that was told."""
        names, until_s = self._folds
        about = not {*names}.isdisjoint(re.findall(r"[a-z0-9-]+", row.text))
        row.told = row.told or (now_s < until_s and row.kind not in SEVERE and about)
        return row.told

    def _remember(self, view: View) -> None:
        """Also of a node that is restarted meanwhile, and says nothing."""
        kept = {name: why for name, why in self._maintenance.items() if name in view.silent}
        self._maintenance = {**kept, **view.maintenance}

    def _spoken(self) -> list[str]:
        return [
            f"{name} is in maintenance mode{f': {why}' if why else ''}."
            for name, why in self._maintenance.items()
        ]

    def memory(self) -> list[tuple[str, str]]:
        """What was told, and is not over: for `told` of the next agent."""
        return [(str(row.kind), row.text) for row in self._rows.values() if row.told]

    def _message(
        self, kind: AlertKind, level: Level, title: str, lines: list[str], notes: Iterable[str]
    ) -> Message:
        said = [note for note in dict.fromkeys(notes) if note]
        body = "\n".join([*lines, *([""] if said else []), *said])
        return Message(kind, level, f"[{self._group}] {title}", f"{body}\n\nTold by {self._node}.")


def _key(kind: AlertKind, text: str) -> str:
    return f"{kind} {_NUMBER.sub('#', text)}"


def _line(text: str, hint: str) -> str:
    return f"- {text}" + (f" ({hint})" if hint else "")


def _gap(reason: str) -> str:
    """A master that said goodbye served until it was heard that there is another one."""
    silent = reason.startswith("no advertisement for ")
    return " For up to that long nobody served them." if silent else ""


def _due(row: _Row, now_s: float) -> bool:
    return not row.told and row.seen_s == now_s and now_s - row.since_s >= AFTER_S[row.kind]


def _over(row: _Row, now_s: float) -> bool:
    """Of what a failover has told, only what lasted: the rest was a part of it."""
    lasted = row.seen_s - row.since_s >= AFTER_S[row.kind]
    return row.told and lasted and now_s - row.seen_s >= OVER_S


def _asked_for(reason: Reason) -> bool:
    """Maintenance mode is what somebody wants: it is said in other messages, and is none."""
    return " is in maintenance mode" in reason.text
