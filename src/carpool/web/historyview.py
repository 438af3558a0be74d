"""What the History pages show of revisions and of past synchronisations.

Room: web. Pure: answers of the agent in, words out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from carpool.api.clean import clean
from carpool.api.progress import counted
from carpool.api.render import Fields, entries_of, fields_of, number_of, text_of, words_of
from carpool.web.backupview import moment
from carpool.web.diffview import Section, sections_of
from carpool.web.jobview import PUT_BACK

SERVICES_MAX = 100  # of one synchronisation


@dataclass(frozen=True, slots=True)
class Revision:
    id: str
    short: str
    when: str
    kind: str
    sections: Sequence[str]
    author: str
    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class Result:
    """One synchronisation with one peer."""

    when: str
    peer: str
    outcome: str
    tone: str
    error: str
    hint: str
    by: str
    reason: str
    took_s: float
    sections: Sequence[tuple[str, str]]  # what became of their files
    services: Sequence[str]


@dataclass(frozen=True, slots=True)
class Shown:
    revision: Revision
    sections: Sequence[Section]


def revisions_of(answer: Fields) -> list[Revision]:
    """Of GET /v1/history."""
    return [_revision(one) for one in entries_of(answer, "revisions")]


def _revision(row: Fields) -> Revision:
    return Revision(
        text_of(row, "id"),
        text_of(row, "short"),
        moment(text_of(row, "when_iso")),
        text_of(row, "kind"),
        words_of(row, "sections") or _names(row.get("sections")),
        text_of(row, "author"),
        text_of(row, "node"),
        text_of(row, "reason"),
    )


def _names(found: object) -> list[str]:
    return [clean(str(one)) for one in found] if isinstance(found, list | tuple) else []


def results_of(answer: Fields) -> list[Result]:
    """Of GET /v1/results."""
    return [_result(one) for one in entries_of(answer, "results")]


def _result(row: Fields) -> Result:
    error = str(row.get("error") or "")
    outcome = text_of(row, "outcome")
    return Result(
        when=moment(text_of(row, "when")),
        peer=text_of(row, "peer"),
        outcome=outcome or "not over",
        tone="bad"
        if error
        else "warn"
        if outcome in ("waiting", "") or outcome.startswith(PUT_BACK)
        else "good",
        error=error,
        hint=str(row.get("hint") or ""),
        by=text_of(row, "by"),
        reason=text_of(row, "reason"),
        took_s=number_of(row, "took_s"),
        sections=[
            (clean(str(name)), counted(counts))
            for name, counts in fields_of(row, "sections").items()
        ],
        services=words_of(row, "services")[:SERVICES_MAX],
    )


def shown(answer: Fields) -> Shown:
    """Of GET /v1/history/REVISION."""
    revision = _revision(fields_of(answer, "revision"))
    return Shown(revision, sections_of(entries_of(answer, "sections")))
