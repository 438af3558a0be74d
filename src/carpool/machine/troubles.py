"""What is wrong on a node, as its console is told: each trouble when it comes, and when it is over.

Room: machine. Decides what is said, and when; refuses to know where it is shown and how anybody
found out.

Rule 1: what is over before its `after_s` never was.
Rule 2: one line when it comes, one when it is over; the same trouble again, or in other words, at
        most every AGAIN_S: a link that flaps must not scroll all else away.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from carpool.model.status import Trouble

AGAIN_S = 60.0
OVER_S = 5.0  # what is gone for so long is over


@dataclass(slots=True)
class _Row:
    trouble: Trouble
    since_s: float
    seen_s: float  # when it held last
    holds: bool = True
    said: str = ""  # on the console, and not yet that it is over
    said_s: float | None = None  # the last line about it, whatever it was


class Troubles:
    """Those of one process."""

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}

    def update(self, found: Iterable[Trouble], now_s: float) -> list[str]:
        """These hold now. Returns the lines for the console."""
        for row in self._rows.values():
            row.holds = False
        for trouble in found:
            row = self._rows.setdefault(trouble.key, _Row(trouble, now_s, now_s))
            if now_s - row.seen_s >= OVER_S:
                row.since_s = now_s
            row.trouble, row.seen_s, row.holds = trouble, now_s, True
        lines = [line for row in self._rows.values() if (line := _line(row, now_s))]
        self._rows = {key: row for key, row in self._rows.items() if not _forgotten(row, now_s)}
        return lines

    @property
    def now(self) -> list[Trouble]:
        """Those that hold, the oldest first."""
        rows = sorted(self._rows.values(), key=lambda row: row.since_s)
        return [row.trouble for row in rows if row.holds]

    def status(self, now_s: float) -> list[dict[str, object]]:
        """Those that hold, as JSON: `key`, `text`, `hint`, `since_s`."""
        return [
            {
                "key": trouble.key,
                "text": trouble.text,
                "hint": trouble.hint,
                "since_s": round(now_s - self._rows[trouble.key].since_s, 3),
            }
            for trouble in self.now
        ]


def _line(row: _Row, now_s: float) -> str:
    """What is to be said of it now, or nothing."""
    if not row.holds:
        if not row.said or now_s - row.seen_s < OVER_S:
            return ""
        over, row.said, row.said_s = row.said, "", now_s
        return f"over: {over}"
    said_lately = row.said_s is not None and now_s - row.said_s < AGAIN_S
    if row.said == row.trouble.text or said_lately or now_s - row.since_s < row.trouble.after_s:
        return ""
    row.said, row.said_s = row.trouble.text, now_s
    return f"{row.trouble.text}. {row.trouble.hint}"


def _forgotten(row: _Row, now_s: float) -> bool:
    """It is over, and there is no line of it from which the next one has to keep away."""
    if row.holds or row.said or now_s - row.seen_s < OVER_S:
        return False
    return row.said_s is None or now_s - row.said_s >= AGAIN_S
