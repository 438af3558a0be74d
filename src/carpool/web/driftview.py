"""How the configuration of the peers stands to this node's, as the status page shows it.

Room: web. Pure; it believes no answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from carpool.api.render import Fields, duration, fields_of, moment, number_of
from carpool.model.section import Drift
from carpool.web.groupview import ENTRIES_MAX, Badge, Note, short_of, text_of
from carpool.web.lately import Seen

_LEVELS = {Drift.IN_SYNC: "good", Drift.UNKNOWN: "calm"}
_ADVICE = {
    Drift.UNKNOWN: "never synchronised from this node: `carpool diff` compares",
    Drift.AHEAD: "`carpool diff` shows what changed here; `carpool sync` brings it there",
    Drift.DIFFERS: "`carpool diff` shows it; `carpool sync` puts it back, `carpool pull` keeps it",
}


class Stand(NamedTuple):
    """Of a section, or of none: it is not told."""

    badge: Badge
    since: str
    why: str


class Section(NamedTuple):
    name: str
    stands: list[Stand]  # by peer


@dataclass(frozen=True, slots=True)
class Configuration:
    sentence: str
    level: str
    peers: list[str]
    sections: list[Section]
    notes: list[Note]
    age: str  # "": not asked yet


def configuration_of(seen: Seen) -> Configuration:
    """Of the answer to GET /v1/drift."""
    if seen.error is not None:
        note = Note("warn", short_of(seen.error.message), short_of(seen.error.hint))
        return Configuration("It is not known whether it is in sync.", "warn", [], [], [note], "")
    if seen.answer is None:
        return Configuration("The peers are being asked.", "calm", [], [], [], "")
    told = fields_of(seen.answer, "peers")
    peers = list(told)[:ENTRIES_MAX]
    names = dict.fromkeys(name for peer in peers for name in fields_of(told, peer))
    sections = [
        Section(short_of(name), [_stand(fields_of(fields_of(told, peer), name)) for peer in peers])
        for name in list(names)[:ENTRIES_MAX]
    ]
    sections.sort(key=lambda one: all(stand.badge.level == "good" for stand in one.stands))
    sentence, level = _sentence([short_of(peer) for peer in peers], sections)
    age = f"{duration(seen.age_s)} ago"
    notes = _notes(seen, sections)
    return Configuration(sentence, level, [short_of(one) for one in peers], sections, notes, age)


def _stand(row: Fields) -> Stand:
    word = text_of(row, "drift") or "not told"
    day, time = moment(text_of(row, "since"), None)
    known = _LEVELS.get(Drift(word), "warn") if word in set(Drift) else "warn"
    return Stand(Badge(word, known), f"{day[:10]} {time[:5]}" if day else "", text_of(row, "why"))


def _sentence(peers: list[str], sections: list[Section]) -> tuple[str, str]:
    if not peers:
        return "There is no peer to be in sync with, or no [sync] in group.toml.", "calm"
    if not sections:
        return "No section is synchronised: `carpool sections` tells which there are.", "calm"
    levels = [stand.badge.level for one in sections for stand in one.stands]
    odd = sum(any(stand.badge.level == "warn" for stand in one.stands) for one in sections)
    if odd:
        return f"{odd} of {_counted(len(sections))} not in sync with {', '.join(peers)}.", "warn"
    if "calm" in levels:
        return f"Of some sections it is not known how they stand on {', '.join(peers)}.", "warn"
    return f"All in sync with {', '.join(peers)}: {_counted(len(sections))}.", "good"


def _notes(seen: Seen, sections: list[Section]) -> list[Note]:
    """What waits to be confirmed, and what to do."""
    assert seen.answer is not None
    own, there = fields_of(seen.answer, "waiting"), fields_of(seen.answer, "waiting_on")
    rows = [("this node", own)] if own else []
    rows += [(short_of(peer), fields_of(there, peer)) for peer in list(there)[:ENTRIES_MAX]]
    notes = [
        Note("warn", f"{_change(row)} waits on {where}", f"put back in {_left(row, seen)}: {_KEEP}")
        for where, row in rows
    ]
    # Where it is told why something is not known, that says more.
    words = {stand.badge.word for one in sections for stand in one.stands if not stand.why}
    notes += [Note("warn", f"“{drift}”", hint) for drift, hint in _ADVICE.items() if drift in words]
    return notes


_KEEP = "`carpool confirm` keeps it"


def _change(row: Fields) -> str:
    return f"{text_of(row, 'what') or 'a change'} of {text_of(row, 'by') or 'somebody'}"


def _left(row: Fields, seen: Seen) -> str:
    return duration(max(0.0, number_of(row, "left_s") - seen.age_s))


def _counted(count: int) -> str:
    return "1 section" if count == 1 else f"{count} sections"
